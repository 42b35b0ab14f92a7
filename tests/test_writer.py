import hashlib
from pathlib import Path

import pytest
import tensorflow as tf

from tfrecords import reader, writer


def test_tensorflow_reads_the_records_back(tmp_path) -> None:
    records = [b"", b"one", b"x" * 70_000]
    shard = writer.write_shard(tmp_path / "shard", records)
    assert list(reader.read_serialized([str(tmp_path / "shard")]).as_numpy_iterator()) == records
    content = (tmp_path / "shard").read_bytes()
    assert (shard.file, shard.examples, shard.bytes) == ("shard", 3, len(content))
    assert shard.sha256 == hashlib.sha256(content).hexdigest()


def test_bytes_are_those_of_tensorflows_own_writer(tmp_path) -> None:
    records = [bytes([i]) * i for i in range(50)]
    writer.write_shard(tmp_path / "ours", records)
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as theirs:
        for record in records:
            theirs.write(record)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_failure_half_way_leaves_no_shard_and_keeps_the_old_one(tmp_path) -> None:
    def records():
        yield b"one"
        raise OSError("disk full")

    writer.write_shard(tmp_path / "old", [b"old"])
    before = (tmp_path / "old").read_bytes()
    for name in ("new", "old"):
        with pytest.raises(OSError, match="disk full"):
            writer.write_shard(tmp_path / name, records())
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == before


def test_shard_that_fails_halfway_does_not_get_its_name(tmp_path: Path) -> None:
    def fail() -> None:
        with writer.open_shard(tmp_path / "shard") as shard:
            shard.write(b"one")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())


def test_records_may_be_given_one_by_one(tmp_path: Path) -> None:
    whole = writer.write_shard(tmp_path / "shard", [b"one", b"two"])
    content = (tmp_path / "shard").read_bytes()
    with writer.open_shard(tmp_path / "shard") as shard:
        shard.write(b"one")
        shard.write(b"two")
    assert shard.shard == whole
    assert (tmp_path / "shard").read_bytes() == content
