"""A plan is a function of examples and options: it opens no file, and their order is no matter."""

from pathlib import Path

import pytest

from data_prep.config import BuildConfig
from data_prep.digests import Digest
from data_prep.examples.labels import Candidate
from data_prep.examples.splits import check_filled
from data_prep.plan import Example, plan_shards
from data_prep.shards import ShardTask, Stamp
from data_prep.sources.photographs import Photograph

SPLITS = ("train", "train", "train", "val")


def config(**options: object) -> BuildConfig:
    given = {"data_dir": "/nowhere", "coco_dir": "/no_photographs", "split_by": "hash"}
    return BuildConfig(**given | options)


def examples(count: int = 40) -> list[Example]:
    """Of photographs that are nowhere."""
    return [
        Example(
            Candidate(
                Photograph(f"/no/{i}.jpg", f"{i}.jpg", i, "", (1, 1), (), file=f"{i}"), i % 2
            ),
            Digest(f"content {i}", Stamp(100, i), ""),
            SPLITS[i % 4],
        )
        for i in range(count)
    ]


def layout(tasks: list[ShardTask]) -> dict[str, list[str]]:
    return {task.file: [example.filename for example in task.examples] for task in tasks}


def test_plan_opens_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    tasks = plan_shards(config(), examples())
    assert sum(len(task.examples) for task in tasks) == 40
    assert {name.split("-")[1].split(".")[0] for name in layout(tasks)} == {"train", "val"}


def test_plan_does_not_depend_on_the_order_of_examples() -> None:
    assert layout(plan_shards(config(), examples()[::-1])) == layout(
        plan_shards(config(), examples())
    )


def test_another_salt_gives_another_order() -> None:
    assert layout(plan_shards(config(salt="other"), examples())) != layout(
        plan_shards(config(), examples())
    )


@pytest.mark.parametrize(
    ("options", "splits", "says"),
    [
        ({}, ["train", "train"], "the split 'val'. Received: 2 examples in all, val_fraction=0.2"),
        ({"test_fraction": 0.1}, ["train", "val"], "the split 'test'. Received: 2 examples"),
    ],
)
def test_split_without_an_example_is_refused(options, splits, says) -> None:
    with pytest.raises(ValueError, match="No example is left") as error:
        check_filled(config(**options), splits)
    assert says in str(error.value)


@pytest.mark.parametrize("options", [{"val_fraction": 0.0}, {"split_by": "source"}])
def test_split_that_nobody_asked_for_may_be_missing(options) -> None:
    check_filled(config(**options), ["train"])
