"""The records of a split's shards in tf.data: of files, or of what is fetched from a bucket."""

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from buckets.failures import BucketError
from tfrecords import reader
from tfrecords.remote_shards import RemoteShards
from trainer.data.split import Split

# Else it is traced, which slows each call down and makes ten lines of one in a traceback.
_in_python = tf.autograph.experimental.do_not_convert


def ahead(split: Split, shards: tf.data.Dataset) -> tf.data.Dataset:
    """Passes the numbers of shards on that are to be read in this order.

    Of shards in a bucket, those that come soon are being fetched meanwhile.
    """
    remote = split.remote
    if remote is None:
        return shards

    @_in_python
    def announce(number: np.integer) -> np.integer:
        remote.announce(int(number))
        return number

    def announced(number: tf.Tensor) -> tf.Tensor:
        same = tf.numpy_function(announce, [number], number.dtype, stateful=False)
        return tf.ensure_shape(same, [])

    return shards.map(announced).prefetch(remote.ahead)


def read(split: Split, shard: tf.Tensor) -> tf.data.Dataset:
    """Returns the serialized examples of a shard, given its number."""
    if split.remote is None:
        return reader.read_serialized(tf.constant(split.paths)[shard])
    return _read_remote(split.remote, shard)


def _read_remote(remote: RemoteShards, shard: tf.Tensor) -> tf.data.Dataset:
    @_in_python
    def hold(number: np.integer) -> bytes:
        return str(remote.hold(int(number))).encode()

    @_in_python
    def release(number: np.integer) -> np.bool_:
        remote.release(int(number))
        return np.False_

    def is_more(_: tf.Tensor) -> tf.Tensor:
        more = tf.numpy_function(release, [shard], tf.bool, stateful=False)
        return tf.ensure_shape(more, [])

    path = tf.ensure_shape(tf.numpy_function(hold, [shard], tf.string, stateful=False), [])
    end = tf.data.Dataset.from_tensors(path).filter(is_more)  # Of no element.
    return reader.read_serialized(path).concatenate(end)


def read_all(split: Split) -> tf.data.Dataset:
    """Returns the serialized examples of all shards, one shard after the other."""
    if split.remote is None:
        return reader.read_serialized(split.paths)
    shards = ahead(split, tf.data.Dataset.range(len(split.paths)))
    return shards.flat_map(lambda shard: read(split, shard))


def read_at(split: Split, shard: tf.Tensor, offset: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns the serialized example whose record starts at a byte of a shard, a scalar string.

    Args:
        shard: Its number.
        offset: Where the record's frame starts, in bytes, int64.
        size: The frame's size in bytes, int64.
    """
    remote = split.remote
    if remote is None:
        return reader.read_at(tf.gather(tf.constant(split.paths), shard), offset, size)

    @_in_python
    def record(*place: np.integer) -> bytes:
        return remote.record(*map(int, place))

    found = tf.numpy_function(record, [shard, offset, size], tf.string, stateful=False)
    return tf.ensure_shape(found, [])


@contextlib.contextmanager
def naming_failures(*splits: Split) -> Iterator[None]:
    """Turns what TensorFlow makes of a shard that cannot be fetched into the line for a person.

    Raises:
        BucketError: if the bucket does not give one, or has another one.
        OSError: if the disk has no room for it.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if failure := failure_in(error, splits):
            raise failure from error
        raise


def failure_in(error: tf.errors.OpError, splits: Iterable[Split]) -> BucketError | OSError | None:
    """Returns why a shard could not be had, if that is what an error came from; else None."""
    failures = [split.remote.failure for split in splits if split.remote]
    # What else went wrong is not it.
    return next((each for each in failures if each and type(each).__name__ in str(error)), None)
