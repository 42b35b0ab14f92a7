import hashlib

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
