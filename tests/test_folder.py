"""One folder per class, as cs231n's `coco-animals` has them."""

from pathlib import Path

import pytest

from data_prep.rules import Rule
from data_prep.sources import folder
from data_prep.sources.photographs import Source


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
        # Splits may lie in the classes, and be albums where there is only one of them.
        (["cat/train/1.jpg", "cat/val/2.jpg", "dog/train/3.jpg", "dog/test/4.jpg"],
         {"cat/train/1.jpg": ("cat", "train"), "cat/val/2.jpg": ("cat", "val"),
          "dog/train/3.jpg": ("dog", "train"), "dog/test/4.jpg": ("dog", "test")}),
        (["cat/train/1.jpg", "dog/train/2.jpg"],
         {"cat/train/1.jpg": ("cat", ""), "dog/train/2.jpg": ("dog", "")}),
        # Albums below a class are its own, whatever they are called.
        (["cat/2020/1.jpg", "cat/2021/2.jpg", "dog/2020/3.jpg", "dog/images/4.jpg"],
         {"cat/2020/1.jpg": ("cat", ""), "cat/2021/2.jpg": ("cat", ""),
          "dog/2020/3.jpg": ("dog", ""), "dog/images/4.jpg": ("dog", "")}),
        # Sidecars, videos, half downloads and backups are no photographs.
        (["cat/1.jpg", "dog/2.jpg", *(f"cat/{name}" for name in (
            "1.AAE", "1.xmp", "1.npy", "a.npz", "1.lnk", "Zb.info", ".nomedia", "x.nomedia",
            "2.jpg.part", "2.crdownload", "1.jpg.bak", "ehthumbs_vista.db", "1.tmp", "1.jpg~",
            "README", "LICENSE", "1.MOV", "1.mp4"))],
         {"cat/1.jpg": ("cat", ""), "dog/2.jpg": ("dog", "")}),
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
    source = read(tmp_path / "b", *files, "dev/cat/5.jpg", "dev/dog/6.jpg", "labels/1.txt")
    assert source.dropped == {"beside_the_splits": 3}
    assert "passed over beside the splits: dev (2), extra (1)" in source.description
    files = ("1.jpg", "list.txt", "Makefile", "train/2.jpg", "test/3.heic", "test/4.PNG")
    source = read(tmp_path / "c", *files, "train/cat/5.jpg", "train/dog/6.jpg")
    assert source.dropped == {"in_no_class_folder": 4}
    source = read(tmp_path / "d", "1.jpg", "cat/2.jpg", "dog/3.jpg")
    assert source.dropped == {"in_no_class_folder": 1}
    assert all(isinstance(rule, Rule) for rule in source.dropped)


def test_links_to_folders_are_followed_and_end(tmp_path: Path) -> None:
    root = tmp_path / "root"
    read(tmp_path / "other", "b1/1.jpg", "b1/more/2.jpg", classes=("b1",))
    read(root, "cat/3.jpg", "cat/own/4.jpg", "dog/5.jpg")
    for name, target in (
        ("cat/a", tmp_path / "other" / "b1"),
        ("cat/again", tmp_path / "other" / "b1"),
        ("cat/aloft", root),
        ("cat/loop", root / "cat"),
        ("cat/own/loop", root / "cat" / "own"),
        ("cat/aown", root / "cat" / "own"),
        ("dog/loop", tmp_path / "other" / "loop"),
    ):
        (root / name).symlink_to(target)
    (tmp_path / "other" / "loop").symlink_to("loop")
    names = {p.name for p in read(root).photographs}
    assert names == {
        "cat/3.jpg", "cat/own/4.jpg", "cat/a/1.jpg", "cat/a/more/2.jpg", "dog/5.jpg", "dog/loop"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["dataset/cat/1.jpg", "dataset/dog/2.jpg", "other/3.jpg"], "--folder_dir={}/dataset"),
        (["images/train/cat/1.jpg", "images/train/dog/2.jpg", "masks/train/cat/3.png"],
         "--folder_dir={}/images"),
        (["pets/train/cat/1.jpg", "pets/train/dog/2.jpg", "masks/3.jpg"], "--folder_dir={}/pets"),
        (["pets/train/cat/1.jpg", "pets/val/cat/2.jpg"], "--folder_dir={}/pets"),
        (["pets/cat/1.jpg", "pets/dog/2.jpg"], "pets is no class: it holds no photographs but the "
         "folders cat, dog. Received: folder_dir={}. Use --folder_dir={}/pets."),
        (["train/images/cat/1.jpg", "train/images/dog/2.jpg", "val/images/cat/3.jpg"],
         "train/images is no class: it holds no photographs but the folders cat, dog. Received: "
         "folder_dir={}. Move them up one folder."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("classes", [("all",), ("cat", "dog")])
def test_folder_that_a_dataset_lies_in_is_no_class(files, says, classes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no class") as error:
        read(tmp_path, *files, classes=classes)
    assert says.replace("{}", str(tmp_path)) in str(error.value)


def test_class_by_name_may_be_called_as_you_like(tmp_path: Path) -> None:
    files = ("images/2020/1.jpg", "raw/2020/2.jpg")
    names = {p.name for p in read(tmp_path, *files, classes=("images", "raw")).photographs}
    assert names == set(files)


def test_classes_with_splits_and_classes_without_are_refused(tmp_path: Path) -> None:
    files = ("cat/train/1.jpg", "cat/val/2.jpg", "dog/3.jpg")
    with pytest.raises(ValueError, match=r"Received: cat, .* beside dog"):
        read(tmp_path, *files)


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


@pytest.mark.parametrize("name", [" cat", "cat ", "cat\nfeline", "\t", "cat\u2028s", "c\x01"])
def test_class_that_tfds_cannot_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without line breaks") as error:
        read(tmp_path, f"{name}/1.jpg", "dog/2.jpg", classes=("all",))
    assert repr(name) in str(error.value)


def test_class_may_have_a_name_of_any_script(tmp_path: Path) -> None:
    names = ("\u06af\u200c\u0647", "👩\u200d🚀", "cat\xa0wild", "cat\u200b")
    source = read(tmp_path, *(f"{name}/1.jpg" for name in names), classes=("all",))
    assert set(source.classes) == set(names)


@pytest.mark.parametrize("other", ["Cat\u00e9", "cate\u0301"])
def test_classes_that_differ_by_spelling_alone_are_said(other, tmp_path, capsys) -> None:
    read(tmp_path, "train/cat\u00e9/1.jpg", f"val/{other}/2.jpg", classes=("all",))
    assert "differ by their spelling alone" in capsys.readouterr().err


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
