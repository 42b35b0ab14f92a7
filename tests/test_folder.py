"""One folder per class, as cs231n's `coco-animals` has them."""

from pathlib import Path

import pytest

from data_prep import folder
from data_prep.photographs import Source


def read(root: Path, *files: str, classes: tuple[str, ...] = ("cat", "dog")) -> Source:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder.read_folders(str(root), classes)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        # One folder per class; whole photographs are labelled.
        (["cat/1.jpg", "dog/2.jpg"], {"cat/1.jpg": ("cat", ""), "dog/2.jpg": ("dog", "")}),
        # train/ and val/ are splits, by any usual name.
        (["train/cat/1.jpg", "val/dog/2.jpg"],
         {"train/cat/1.jpg": ("cat", "train"), "val/dog/2.jpg": ("dog", "val")}),
        (["Train2014/cat/1.jpg", "valid/dog/2.jpg", "testing/dog/3.jpg"],
         {"Train2014/cat/1.jpg": ("cat", "train"), "valid/dog/2.jpg": ("dog", "val"),
          "testing/dog/3.jpg": ("dog", "test")}),
        # What stands beside the splits or beside the classes is not the dataset's.
        (["train/cat/1.jpg", "train/dog/2.jpg", "README.md", "train/list.txt", "extra/cat/9.jpg"],
         {"train/cat/1.jpg": ("cat", "train"), "train/dog/2.jpg": ("dog", "train")}),
        # Hidden files and folders are no photographs; folders below a class are.
        (["cat/.DS_Store", ".git/1.jpg", "cat/more/1.jpg", "dog/2.jpg"],
         {"cat/more/1.jpg": ("cat", ""), "dog/2.jpg": ("dog", "")}),
        # A class may be called as a split is, or begin so, where its neighbours are classes.
        (["cat/1.jpg", "dog/2.jpg", "train/3.jpg", "vallhund/4.jpg"],
         {"cat/1.jpg": ("cat", ""), "dog/2.jpg": ("dog", "")}),
        # What systems and tools leave is no photograph.
        (["cat/1.jpg", "dog/2.jpg", "cat/Thumbs.db", "dog/desktop.ini", "cat/notes.txt",
          "dog/labels.json", "__MACOSX/cat/1.jpg", "cat/.ipynb_checkpoints/1-checkpoint.jpg",
          "cat/__MACOSX/2.jpg", "dog/._2.jpg"],
         {"cat/1.jpg": ("cat", ""), "dog/2.jpg": ("dog", "")}),
        # Names of no kind, or of none that is known, are looked into.
        (["cat/1", "dog/2.jpg_large", "dog/3.webp", "dog/4.HEIC"],
         {"cat/1": ("cat", ""), "dog/2.jpg_large": ("dog", ""), "dog/3.webp": ("dog", ""),
          "dog/4.HEIC": ("dog", "")}),
        # Other classes are left out.
        (["cat/1.jpg", "dog/2.jpg", "cow/3.jpg"],
         {"cat/1.jpg": ("cat", ""), "dog/2.jpg": ("dog", "")}),
    ],
)  # fmt: skip
def test_label_and_split_are_those_of_the_folders(files, found, tmp_path: Path) -> None:
    source = read(tmp_path, *files)
    assert {p.name: (source.classes[p.label], p.source_split) for p in source.photographs} == found
    assert all(Path(p.path).read_bytes() == p.name.encode() for p in source.photographs)


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    files = ("cat/1.jpg", "cat/Thumbs.db", "dog/2.jpg", "dog/notes.txt", "cat/.DS_Store")
    assert read(tmp_path / "a", *files).dropped == {"no_photograph_by_name": 3}
    files = ("train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg", "extra/cat/4.jpg")
    assert read(tmp_path / "b", *files).dropped == {"beside_the_splits": 1}


def test_what_cannot_be_opened_is_left_to_be_rejected(tmp_path: Path) -> None:
    """A link to nowhere, or to itself, was put there as a photograph."""
    for name in ("cat/1.jpg", "dog/2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "cat" / "3.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "dog" / "4.jpg").symlink_to("4.jpg")
    names = [p.name for p in read(tmp_path).photographs]
    assert names == ["cat/1.jpg", "cat/3.jpg", "dog/2.jpg", "dog/4.jpg"]


def test_splits_and_classes_side_by_side_are_refused(tmp_path: Path) -> None:
    files = ("train/cat/1.jpg", "test/dog/2.jpg", "unsorted/3.jpg")
    with pytest.raises(ValueError, match=r"side by side. Received: test, train, .* unsorted"):
        read(tmp_path, *files)


@pytest.mark.parametrize("name", [" cat", "cat ", "cat\nfeline", "\t", "cat\u200b"])
def test_class_that_tfds_cannot_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="printable characters") as error:
        read(tmp_path, f"{name}/1.jpg", "dog/2.jpg", classes=("all",))
    assert repr(name) in str(error.value)


def test_all_takes_every_folder_in_alphabetical_order(tmp_path: Path) -> None:
    files = ("train/dog/1.jpg", "train/ape/2.jpg", "val/cat/3.jpg", "val/.cache/4.jpg")
    source = read(tmp_path, *files, classes=("all",))
    assert source.classes == ("ape", "cat", "dog")


def test_id_of_a_photograph_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    before = {p.name: p.image_id for p in read(tmp_path, "cat/2.jpg", "dog/3.jpg").photographs}
    after = {p.name: p.image_id for p in read(tmp_path, "cat/1.jpg").photographs}
    assert before.items() <= after.items()
    assert len(set(after.values())) == 3
    assert all(0 <= image_id < 2**63 for image_id in after.values())


@pytest.mark.parametrize(
    ("files", "classes", "says"),
    [
        ([], ("cat",), "no folder per class"),
        (["1.jpg"], ("cat",), "no folder per class"),
        (["cat/1.jpg", "dog/2.jpg"], ("cat", "dgo"), "Did you mean 'dog'?"),
        (["cat/1.jpg"], ("zebra",), "It has: cat."),
    ],
)
def test_folder_without_the_classes_is_refused(files, classes, says, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Received") as error:
        read(tmp_path, *files, classes=classes)
    assert says in str(error.value)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"not a directory. Received: {tmp_path / 'no'}"):
        read(tmp_path / "no")
