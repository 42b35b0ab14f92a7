from collections import Counter

import pytest

from data_prep.labels import Candidate
from data_prep.photographs import Photograph
from data_prep.splits import split_by_hash


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
