"""The photographs of a split as they are stored.

They are held in memory where they fit, and read anew where not. Of several workers each reads
those alone that it trains on.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf
from absl import logging

from tfrecords import framing, reader
from trainer.config import TrainConfig
from trainer.data import records
from trainer.data.split import Index, Split
from trainer.distribute.workers import Workers

PREFETCHED = 2  # Batches that wait for the model.

PARALLEL_READS = 4  # Shards that are open at the same time.

# One window is read, joined and shuffled, which are three copies; one waits, one is given out, and
# one is not freed yet.
_WINDOWS_AT_ONCE = 6


def shuffle_window(split: Split, config: TrainConfig) -> int:
    """Returns how many examples are shuffled together: all, or as many as the memory holds.

    It decides the order, so that it must not depend on the machine, nor on its replicas.
    """
    size = split.nbytes
    waiting = PREFETCHED * config.batch_size * config.input_size**2 * 3
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


class Examples(Protocol):
    """The photographs of a split."""

    def ahead(self, shards: tf.data.Dataset) -> tf.data.Dataset:
        """Passes the numbers of shards on, in the order in which they will be read."""
        ...

    def read(self, shard: tf.Tensor) -> tf.data.Dataset:
        """What stands for each example of a shard: its key, small and cheap to pass over."""
        ...

    def take(self, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns an example's JPEG and label."""
        ...


def open_examples(split: Split, window: int | None = None) -> Examples:
    """Returns a split's photographs, for an order that shuffles so many of them together."""
    if split.index:
        return OwnExamples(split, split.index)
    if window is None or window >= split.num_examples:
        return HeldExamples(split)
    return ReadExamples(split)


class HeldExamples:
    """Photographs that are read and parsed once, and are then known by their index."""

    def __init__(self, split: Split) -> None:
        shards = [_read_shard(path) for path in split.files()]
        counts = [len(shard["label"]) for shard in shards]
        self._first = tf.constant([*itertools.accumulate(counts, initial=0)], tf.int64)
        self._jpegs = tf.concat([shard["image"] for shard in shards], axis=0)
        self._labels = tf.concat([shard["label"] for shard in shards], axis=0)

    def ahead(self, shards: tf.data.Dataset) -> tf.data.Dataset:
        """All are there."""
        return shards

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

    def __init__(self, split: Split) -> None:
        self._split = split

    def ahead(self, shards: tf.data.Dataset) -> tf.data.Dataset:
        """Fetches those that come next from a bucket."""
        return records.ahead(self._split, shards)

    def read(self, shard: tf.Tensor) -> tf.data.Dataset:
        """The keys of a shard's examples: serialized ones."""
        return records.read(self._split, shard)

    def take(self, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns an example's JPEG and label."""
        example = reader.parse_example(key)
        return example["image"], example["label"]


def numbers_in(split: Split) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """Returns what gives the numbers of a split's examples in a shard: int64 scalars, in order."""
    if split.members is None:
        first = tf.constant(split.starts, tf.int64)
        return lambda shard: tf.data.Dataset.range(first[shard], first[shard + 1])
    members = tf.constant(split.members, tf.int64)
    place = tf.constant(np.searchsorted(split.members, split.starts), tf.int64)
    return lambda shard: tf.data.Dataset.range(place[shard], place[shard + 1]).map(
        lambda index: members[index]
    )


class OwnExamples:
    """Photographs that are known by their index, and of which only those that are taken are read.

    So each of several workers reads its own rows of a batch and no other, and a split leaves alone
    what its shards hold of others.
    """

    def __init__(self, split: Split, index: Index) -> None:
        self._split = split
        self._numbers_in = numbers_in(split)
        self._shards = tf.constant(np.repeat(np.arange(len(split.counts)), split.counts))
        ends = np.cumsum([0, *index.sizes])
        starts_of_shards = np.repeat(ends[split.starts[:-1]], split.counts)
        self._offsets = tf.constant(ends[:-1] - starts_of_shards)
        self._sizes = tf.constant(index.sizes)
        if split.remote and not split.remote.fits:
            logging.warning(
                "Photographs of %s are read at random, and --data_cache_gib does not hold all of "
                "its shards: some are fetched again and again.", split.name,
            )  # fmt: skip

    def ahead(self, shards: tf.data.Dataset) -> tf.data.Dataset:
        """Fetches those that come next from a bucket."""
        return records.ahead(self._split, shards)

    def read(self, shard: tf.Tensor) -> tf.data.Dataset:
        """The keys of a shard's examples: int64 scalars."""
        return self._numbers_in(shard)

    def take(self, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns an example's JPEG and label."""
        example = reader.parse_example(self.serialized(key))
        return example["image"], example["label"]

    def serialized(self, key: tf.Tensor) -> tf.Tensor:
        """Returns an example as it is stored, a scalar string."""
        shard = tf.gather(self._shards, key)
        return records.read_at(
            self._split, shard, tf.gather(self._offsets, key), tf.gather(self._sizes, key)
        )


def index_together(split: Split, workers: Workers) -> Split:
    """Returns a split with its index, for which each worker reads its share of the shards.

    One that has its index stays as it is.

    Raises:
        ValueError: if a shard does not hold as many examples as the manifest says.
    """
    if split.index:
        return split
    sizes, labels = np.zeros([2, split.num_stored], np.int64)
    own = workers.own(range(len(split.paths)))
    for shard, path in zip(own, split.files(own), strict=True):
        here = slice(split.starts[shard], split.starts[shard + 1])
        sizes[here], labels[here] = _index_shard(path, split.counts[shard])
    return dataclasses.replace(split, index=Index(workers.join(sizes), workers.join(labels)))


def _index_shard(path: str, count: int) -> np.ndarray:
    """Returns the size of each record and its label, int64 [2, count]."""

    def size_and_label(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.strings.length(serialized), reader.parse_example(serialized)["label"]

    ds = reader.read_serialized(path).map(size_and_label)
    found = np.array(list(ds.as_numpy_iterator()), np.int64).reshape(-1, 2)
    if len(found) != count:
        raise ValueError(
            f"A shard does not hold what the manifest says. Received: {path} with {len(found)} "
            f"examples, not {count}. See what `python -m data_prep.verify` finds."
        )
    frame = np.array([len(framing.frame(b"")), 0])
    return (found + frame).T


def labels_of(split: Split) -> np.ndarray:
    """Returns the labels of a split, int64 [num_examples], in the order of its shards."""
    return labels_by_number(split)[split.numbers]


def labels_by_number(split: Split) -> np.ndarray:
    """Returns the labels of all that a split's shards hold, int64 [num_stored]."""
    if split.index:
        return split.index.labels
    ds = records.read_all(split).map(lambda s: reader.parse_example(s)["label"])
    return np.fromiter(ds.as_numpy_iterator(), np.int64)
