"""The order of the data: which example stands at which position of the endless training stream.

It is a function of (seed, step): a checkpoint needs only a step, a resumed run goes on exactly, and
how many replicas or workers share a batch does not matter.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrecords import reader
from trainer.data.examples import PARALLEL_READS, OwnExamples, ReadExamples
from trainer.data.split import Split

ALONE = tf.distribute.InputContext()

Read = Callable[[tf.Tensor], tf.data.Dataset]
Ahead = Callable[[tf.data.Dataset], tf.data.Dataset]


@dataclasses.dataclass(frozen=True)
class Order:
    """One permutation of all examples after the other, in full batches.

    A batch may hold the end of one permutation and the start of the next, so no example is lost,
    none is repeated within a permutation, and no batch is ragged: a ragged one would be averaged
    wrongly over replicas.

    Attributes:
        seed: Another one gives other permutations.
        batch_size: The global one, over all replicas.
        window: The shuffle buffer: how many examples are shuffled together; None: all.
        skipped: Batches that no step takes, by number.
    """

    seed: int
    batch_size: int
    window: int | None = None
    skipped: tuple[int, ...] = ()

    def batch_of_step(self, step: int) -> int:
        """The batch that a step takes, counted from 0 as the steps are."""
        batch = step
        for skipped in sorted(self.skipped):
            batch += skipped <= batch
        return batch

    def examples(
        self,
        split: Split,
        read: Read,
        start_step: int = 0,
        ahead: Ahead = lambda shards: shards,
    ) -> tf.data.Dataset:
        """Returns the endless stream of (position, example) from a step on.

        Args:
            read: Returns the examples of a shard, given its number: photographs, or what stands for
                them. They should be small, and passing over one should cost little.
            ahead: Told of the numbers of the shards, which it passes on, as they will be read.
        """
        start = self.batch_of_step(start_step) * self.batch_size
        num_shards, num_examples = len(split.paths), split.num_examples

        def windows(epoch: tf.Tensor) -> tf.data.Dataset:
            shuffle = functools.partial(_shuffle, seed=[self.seed, epoch])
            at_once = min(PARALLEL_READS, num_shards)
            shards = tf.data.Dataset.from_tensor_slices(shuffle(tf.range(num_shards)))
            reads = self.window and self.window < num_examples  # Else examples are held.
            threads = at_once if reads else None
            ds = ahead(shards).interleave(read, cycle_length=at_once, num_parallel_calls=threads)
            return ds.batch(self.window or num_examples).map(shuffle)

        ds = tf.data.Dataset.range(start // num_examples, tf.int64.max).flat_map(windows)
        ds = ds.prefetch(1).unbatch()  # One is read while one is given out, also of the next epoch.
        ds = ds.skip(start % num_examples)  # Before decode: skipping costs a read, not a decode.
        return self._without_skipped(ds.enumerate(start))

    def examples_in_batch(self, split: Split, batch: int) -> list[dict[str, Any]]:
        """Returns the id and the file name of each example in a batch, skipped or not."""
        nothing_skipped = dataclasses.replace(self, skipped=())
        if split.index:
            own = OwnExamples(split, split.index)
            ds = nothing_skipped.examples(split, own.read, start_step=batch)
            ds = ds.take(self.batch_size).map(lambda position, key: (position, own.serialized(key)))
        else:
            ds = nothing_skipped.examples(split, ReadExamples(split).read, start_step=batch)
        ds = ds.take(self.batch_size).map(lambda _, serialized: reader.parse_origin(serialized))
        return [
            {"id": int(example["image/id"]), "name": example["image/filename"].decode()}
            for example in ds.as_numpy_iterator()
        ]

    def _without_skipped(self, ds: tf.data.Dataset) -> tf.data.Dataset:
        if not self.skipped:
            return ds
        skipped = tf.constant(self.skipped, tf.int64)
        return ds.filter(lambda position, _: tf.reduce_all(position // self.batch_size != skipped))


# tf.data's own shuffle would mix in TensorFlow's global seed; this one knows its arguments alone.
_shuffle = tf.random.experimental.stateless_shuffle


def full_batches_once(
    examples: tf.data.Dataset,
    num_examples: int,
    batch_size: int,
    first: tf.data.Dataset | None = None,
) -> tf.data.Dataset:
    """Returns a split's examples, each once, and the first again until the last batch is full.

    A replica without rows would crash. Drop all after num_examples.

    Args:
        first: Begins as the examples do, where beginning again costs them more; None: themselves.
    """
    first = (examples if first is None else first).take(1).cache()
    return examples.concatenate(first.repeat(-num_examples % batch_size))


def own_rows(
    ds: tf.data.Dataset, batch_size: int, worker: tf.distribute.InputContext
) -> tf.data.Dataset:
    """Takes a worker's rows of each global batch, from elements that cost little to pass over."""
    if worker.num_input_pipelines == 1:
        return ds
    rows = batch_size // worker.num_input_pipelines
    first = rows * worker.input_pipeline_id
    ds = ds.batch(batch_size, drop_remainder=True)
    ds = ds.map(lambda *batch: tf.nest.map_structure(lambda x: x[first : first + rows], batch))
    return ds.unbatch()
