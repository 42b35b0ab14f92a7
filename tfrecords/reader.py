"""Reads shards with tf.data. The one module of this package that needs TensorFlow."""

from collections.abc import Sequence

import tensorflow as tf

_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "image/filename": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
}


def read_serialized(
    paths: Sequence[str] | tf.data.Dataset, num_parallel_reads: int | None = None
) -> tf.data.Dataset:
    """Serialized examples, in an order that the order of the paths decides alone.

    Args:
        paths: Of the shards.
        num_parallel_reads: Shards to read at once, a record from each in turn; None reads one
            shard after the other.
    """
    if not isinstance(paths, tf.data.Dataset):
        paths = list(paths)
    return tf.data.TFRecordDataset(
        paths, buffer_size=8 * 2**20, num_parallel_reads=num_parallel_reads
    )


def parse_example(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns `image` (JPEG bytes), `image/filename` and `label` (int64) of one example."""
    return tf.io.parse_single_example(serialized, _FEATURES)
