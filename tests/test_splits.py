from collections import Counter

import pytest

from data_prep.config import BuildConfig
from data_prep.examples.labels import Candidate
from data_prep.examples.splits import assign, describe, settle, split_by_hash
from data_prep.sources.photographs import Photograph, split_name


def candidates(labels: list[int]) -> list[Candidate]:
    return [
        Candidate(Photograph(f"/{i}.jpg", f"{i}.jpg", i, "", (1, 1), ()), label)
        for i, label in enumerate(labels)
    ]


def split(labels: list[int], contents: list[str] | None = None, **options: object) -> list[str]:
    options = {"val_fraction": 0.2, "test_fraction": 0.0, "salt": "s", **options}
    contents = contents or [f"content {i}" for i in range(len(labels))]
    return split_by_hash(candidates(labels), contents, **options)


def test_each_class_is_shared_out_in_proportion() -> None:
    labels = [0] * 50 + [1] * 10 + [2] * 5
    found = split(labels, val_fraction=0.2, test_fraction=0.1)
    assert Counter(zip(labels, found, strict=True)) == {
        (0, "train"): 35, (0, "val"): 10, (0, "test"): 5,
        (1, "train"): 7, (1, "val"): 2, (1, "test"): 1,
        (2, "train"): 3, (2, "val"): 1, (2, "test"): 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("count", "val"),
    [(1, 0), (2, 1), (3, 1), (4, 1)],  # Of a rare class one is kept to look at; one must train.
)
def test_rare_class_is_in_validation_unless_it_would_leave_training(count, val) -> None:
    assert Counter(split([0] * count))["val"] == val


def test_copies_and_crops_of_one_photograph_go_to_one_split() -> None:
    # Every content stands three times: as a copy, and as crops of other classes.
    labels = [i % 3 for i in range(60)]
    contents = [f"content {i // 3}" for i in range(60)]
    found = split(labels, contents)
    for i in range(0, 60, 3):
        assert len(set(found[i : i + 3])) == 1
    assert {"train", "val"} == set(found)


def test_split_depends_on_contents_and_salt_not_on_order_or_names() -> None:
    labels = [0] * 40
    contents = [f"content {i}" for i in range(40)]
    found = dict(zip(contents, split(labels, contents), strict=True))
    assert dict(zip(contents[::-1], split(labels, contents[::-1]), strict=True)) == found
    assert dict(zip(contents, split(labels, contents, salt="t"), strict=True)) != found


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train2017", "train"), ("Training", "train"), ("train_images", "train"),
        ("val2017", "val"), ("valid", "val"), ("VALIDATION", "val"), ("minival2014", "val"),
        ("test-dev2017", "test"), ("testing", "test"), ("images_test", "test"),
        # A word that only begins like a split is none.
        ("vallhund", ""), ("trainer", ""), ("testudo", ""), ("valve", ""), ("trains", ""),
        # Two splits at once are none either.
        ("trainval2017", ""), ("train_test", ""), ("default", ""), ("", ""),
    ],
)  # fmt: skip
def test_split_is_told_by_whole_words(name, split) -> None:
    assert split_name(name) == split


def photographs(splits: list[str]) -> list[Photograph]:
    return [Photograph(f"/{i}", f"{i}", i, s, (1, 1), ()) for i, s in enumerate(splits)]


@pytest.mark.parametrize(
    ("splits", "auto"),
    [
        (["", ""], "hash"),
        (["train", "train"], "hash"),  # Nothing is kept apart.
        (["val", "val"], "hash"),
        (["train", "val"], "source"),
        (["train", "test"], "source"),
        (["train", "val", "test"], "source"),
    ],
)
def test_splits_that_a_person_made_are_kept(splits, auto) -> None:
    assert settle("auto", photographs(splits)) == auto
    assert settle("hash", photographs(splits)) == "hash"


@pytest.mark.parametrize(
    ("split_by", "splits", "says"),
    [
        ("auto", ["train", "val", ""], "1 in no split, 1 in train, 1 in val"),
        ("auto", ["val", "test"], "1 in test, 1 in val"),  # They would be mixed.
        ("auto", ["val", ""], "1 in no split, 1 in val"),
        ("source", ["", ""], "2 in no split"),
        ("source", ["val", "test"], "1 in test, 1 in val"),
    ],
)
def test_photographs_without_a_split_are_not_dealt_out_unasked(split_by, splits, says) -> None:
    with pytest.raises(ValueError, match="Use --split_by=hash") as error:
        settle(split_by, photographs(splits))
    assert f"Received: {says}" in str(error.value)


@pytest.mark.parametrize(
    ("of_source", "options", "expected", "said"),
    [
        # What the source lacks is cut from its train, what it has is left alone.
        (["train"] * 20 + ["test"] * 4, {}, {"train": 16, "val": 4, "test": 4},
         "cut from its train: val 20% of each class"),
        (["train"] * 20 + ["val"] * 4, {}, {"train": 20, "val": 4}, "as the source has them"),
        (["train"] * 20 + ["val"] * 4, {"test_fraction": 0.1},
         {"train": 18, "val": 4, "test": 2}, "test 10% of each class"),
        (["train"] * 20 + ["test"] * 4, {"val_fraction": 0.0}, {"train": 20, "test": 4},
         "as the source has them"),
    ],
)  # fmt: skip
def test_missing_split_is_cut_from_train(of_source, options, expected, said) -> None:
    config = BuildConfig(data_dir="d", coco_dir="c", split_by="source", **options)
    shown = photographs(of_source)
    splits = assign(config, [Candidate(p, 0) for p in shown], [f"content {p.name}" for p in shown])
    assert Counter(splits) == expected
    kept = [(a, b) for a, b in zip(of_source, splits, strict=True) if a != "train"]
    assert all(a == b for a, b in kept)
    assert said in describe(config, shown)
