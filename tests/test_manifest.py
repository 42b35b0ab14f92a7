import json
from pathlib import Path

import pytest

from tfrecords import manifest, naming
from tfrecords.manifest import Manifest, Shard

SHARDS = [
    Shard(naming.shard_name("train", 1, 2), 3, 300, "bb"),
    Shard(naming.shard_name("train", 0, 2), 4, 400, "aa"),
    Shard(naming.shard_name("val", 0, 1), 2, 200, "cc"),
]
MANIFEST = Manifest(
    version=manifest.VERSION,
    classes=["cat", "dog"],
    counts={"train": {"cat": 5, "dog": 2}, "val": {"cat": 1, "dog": 1}},
    shards=SHARDS,
    digest=manifest.dataset_digest(SHARDS),
    options={"salt": "s", "classes": ["cat", "dog"], "num_shards": None},
    dropped={"several_classes": 1},
    rejected=0,
)


def test_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest.write_manifest(tmp_path, MANIFEST)
    assert manifest.read_manifest(tmp_path) == MANIFEST


def test_scripts_find_the_keys_of_the_contract(tmp_path: Path) -> None:
    manifest.write_manifest(tmp_path, MANIFEST)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert {"version", "classes", "counts", "shards", "digest", "options"} <= content.keys()
    assert content["shards"][0] == {
        "file": "coco_animals-train.tfrecord-00001-of-00002",
        "examples": 3,
        "bytes": 300,
        "sha256": "bb",
    }


def test_split_knows_its_examples_and_its_shards_in_order() -> None:
    assert MANIFEST.num_examples("train") == 7
    assert MANIFEST.shards_of("train") == [SHARDS[1], SHARDS[0]]
    assert MANIFEST.shards_of("val") == [SHARDS[2]]


def test_unknown_split_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"Received: split='test'. It has: train, val"):
        MANIFEST.shards_of("test")


@pytest.mark.parametrize(
    ("shards", "same"),
    [
        (SHARDS[::-1], True),  # The order in which shards were finished means nothing.
        (SHARDS[:2], False),
        ([Shard(SHARDS[0].file, 3, 300, "other"), *SHARDS[1:]], False),
        ([Shard("other", 3, 300, "bb"), *SHARDS[1:]], False),
    ],
)
def test_digest_is_of_names_and_contents(shards: list[Shard], same: bool) -> None:
    assert (manifest.dataset_digest(shards) == MANIFEST.digest) == same


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No complete dataset: there is no manifest.json"),  # Not built, or not to the end.
        ("", "cannot be read"),
        ('{"version": 1}', "missing required field `classes`"),
        ('{"version": "one"}', "Expected `int`, got `str`"),
    ],
)
def test_unreadable_manifest_says_what_to_do(content: str | None, says: str, tmp_path) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="Build") as error:
        manifest.read_manifest(tmp_path)
    assert says in str(error.value)
    assert str(tmp_path) in str(error.value)
