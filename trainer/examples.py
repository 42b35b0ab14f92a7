"""The photographs of a split as they are stored: held in memory where they fit, else read anew."""

import itertools
from collections.abc import Sequence

import tensorflow as tf
from absl import logging

from tfrecords import reader
from trainer.config import IMAGE_SIZE, TrainConfig
from trainer.split import Split

PREFETCHED = 2  # Batches that wait for the model.

PARALLEL_READS = 4  # Shards that are open at the same time.

# One window is read, joined and shuffled, which are three copies; one waits, one is given out, and
# one is not freed yet.
_WINDOWS_AT_ONCE = 6


def shuffle_window(split: Split, config: TrainConfig) -> int:
    """Returns how many examples are shuffled together: all, or as many as the memory holds.

    It decides the order, so that it must not depend on the machine, nor on its replicas.
    """
    size = sum(tf.io.gfile.stat(path).length for path in split.paths)
    waiting = PREFETCHED * config.batch_size * IMAGE_SIZE**2 * 3
    room = max((config.data_ram_mib << 20) - waiting, 0)
    if 2 * size <= room:  # They are there twice while they are parsed.
        return split.num_examples
    room = max(room - PARALLEL_READS * reader.READ_BYTES, 0)
    window = max(1, int(split.num_examples * room / _WINDOWS_AT_ONCE / size))
    logging.info(
        "%d MiB of photographs do not fit in --data_ram_mib=%d: %d of %d are shuffled at a time.",
        size >> 20, config.data_ram_mib, window, split.num_examples,
    )  # fmt: skip
    return window


class HeldExamples:
    """Photographs that are read and parsed once, and are then known by their index."""

    def __init__(self, paths: Sequence[str]) -> None:
        shards = [_read_shard(path) for path in paths]
        counts = [len(shard["label"]) for shard in shards]
        self._first = tf.constant([*itertools.accumulate(counts, initial=0)], tf.int64)
        self._jpegs = tf.concat([shard["image"] for shard in shards], axis=0)
        self._labels = tf.concat([shard["label"] for shard in shards], axis=0)

    def read(self, shard: tf.Tensor) -> tf.data.Dataset:
        """The keys of a shard's examples: int64 scalars."""
        return tf.data.Dataset.range(self._first[shard], self._first[shard + 1])

    def take(self, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns an example's JPEG and label."""
        return tf.gather(self._jpegs, key), tf.gather(self._labels, key)


def _read_shard(path: str) -> dict[str, tf.Tensor]:
    serialized = [*reader.read_serialized([path]).as_numpy_iterator()]
    return reader.parse_examples(tf.constant(serialized, tf.string))


class ReadExamples:
    """Photographs that are read anew in each epoch."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tf.constant(list(paths))

    def read(self, shard: tf.Tensor) -> tf.data.Dataset:
        """The keys of a shard's examples: serialized ones."""
        return reader.read_serialized(self._paths[shard])

    def take(self, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns an example's JPEG and label."""
        example = reader.parse_example(key)
        return example["image"], example["label"]
