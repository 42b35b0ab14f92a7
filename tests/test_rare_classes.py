"""Of every class that there is, those too rare to learn are left out by name."""

from collections import Counter
from pathlib import Path

import pytest

from data_prep.build import build, dry_run
from data_prep.config import BuildConfig
from data_prep.examples import rare_classes
from tests.support.coco_folder import instances, jpeg, write


def config(root: Path, **options: object) -> BuildConfig:
    given = {"coco_dir": str(root / "coco"), "data_dir": str(root / "data")}
    return BuildConfig(**given | {"classes": ("all",), "num_workers": 1} | options)


def with_zebras(root: Path, count: int, split: str = "train2017") -> None:
    """Ten cats and dogs to train and four to validate on, and some zebras in one of the splits."""
    for name, number in (("train2017", 10), ("val2017", 4)):
        content = instances(number + count * (name == split))
        content["categories"].append({"id": 24, "name": "zebra"})
        for annotation in content["annotations"][number:]:
            annotation["category_id"] = 24
        write(root / "coco", content, name)


@pytest.mark.parametrize(
    ("zebras", "split", "options", "classes"),
    [
        (2, "train2017", {}, ["cat", "dog", "zebra"]),
        (1, "train2017", {}, ["cat", "dog"]),  # Nothing would be left to judge it by.
        (1, "train2017", {"min_examples": 1}, ["cat", "dog", "zebra"]),
        (3, "train2017", {"min_examples": 4}, ["cat", "dog"]),
        (3, "val2017", {}, ["cat", "dog"]),  # Nothing to learn it from.
    ],
)
def test_rare_class_is_left_out_before_a_pixel_is_decoded(
    zebras, split, options, classes, tmp_path: Path
) -> None:
    with_zebras(tmp_path, zebras, split)
    planned = dry_run(config(tmp_path, **options))
    assert list(planned.selection.source.classes) == classes
    assert ("zebra" in planned.selection.rare) == (len(classes) == 2)
    assert not (tmp_path / "data").exists()


def test_dataset_is_that_of_the_classes_that_are_left(tmp_path: Path) -> None:
    with_zebras(tmp_path, 1)
    manifest = build(config(tmp_path))
    named = build(
        config(tmp_path, data_dir=str(tmp_path / "named"), classes=tuple(manifest.classes))
    )
    assert manifest.classes == ["cat", "dog"]
    assert manifest.digest == named.digest


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"classes": ("cat", "dog", "zebra"), "min_examples": 3}, "zebra 1 (train 1)"),
        ({"classes": ("cat", "dog", "zebra"), "min_examples": 3}, "--min_examples=3"),
        ({"min_examples": 50}, "Received: none; with fewer than --min_examples=50: cat 7 (train 5, "
                               "val 2); dog 7"),
    ],
)  # fmt: skip
def test_refusal_says_how_many_there_were_and_where(options, says, tmp_path: Path) -> None:
    with_zebras(tmp_path, 1)
    with pytest.raises(ValueError, match="Received") as error:
        build(config(tmp_path, **options))
    assert says in str(error.value)
    assert not list((tmp_path / "data").glob("*.tfrecord*"))


def test_one_class_is_refused(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / "animals" / "cat").mkdir(parents=True, exist_ok=True)
        (tmp_path / "animals" / "cat" / f"{number}.jpg").write_bytes(jpeg(number))
    with pytest.raises(ValueError, match=r"two classes or more apart. Received: cat"):
        build(BuildConfig(folder_dir=str(tmp_path / "animals"), data_dir=str(tmp_path / "data")))


def test_words_name_those_without_any_together() -> None:
    counts = {"ape": Counter(train=1), "bee": Counter(), "cow": Counter(val=2), "dog": Counter()}
    words = "ape 1 (train 1); cow 2 (val 2); none of bee, dog"
    assert rare_classes.in_words(counts, list(counts)) == words
