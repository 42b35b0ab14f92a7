"""Feeds shards to the model: an endless stream for training, padded batches for evaluation.

The order of training examples is a pure function of (seed, step): a checkpoint needs only a step.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from cli import cores
from tfrecords import reader
from trainer.config import TrainConfig
from trainer.data import mixing
from trainer.data.examples import PARALLEL_READS, PREFETCHED, ReadExamples, open_examples
from trainer.data.split import Split
from trainer.data.view import View

ALONE = tf.distribute.InputContext()
DEFAULT_VIEW = View()


def training_stream(
    split: Split,
    *,
    batch_size: int,
    seed: int,
    view: View = DEFAULT_VIEW,
    window: int | None = None,
    mixup: float = TrainConfig.mixup,
    cutmix: float = TrainConfig.cutmix,
    start_step: int = 0,
    left_out: Sequence[int] = (),
    worker: tf.distribute.InputContext = ALONE,
) -> tf.data.Dataset:
    """Returns an endless stream of full batches: one permutation of all examples after the other.

    A batch may hold the end of one permutation and the start of the next, so no example is lost,
    none is repeated within a permutation, and no batch is ragged: a ragged one would be averaged
    wrongly over replicas.

    Args:
        split: With an index, only the examples of the worker's rows are read.
        batch_size: Global, over all replicas.
        seed: Another seed gives other permutations.
        view: What the model sees of each photograph.
        window: How many examples are shuffled together; None, all, which are held in memory.
        mixup: As `mixing.mixer` takes it.
        cutmix: As `mixing.mixer` takes it.
        start_step: The first batch is the one of this step.
        left_out: Batches to pass over, by number.
        worker: Who decodes only its rows of each global batch, a replica's at a time.

    Yields:
        (images, labels): RGB uint8 [rows, size, size, 3]; one-hot or mixed float32 [rows, classes],
        where rows is a replica's share of the global batch.
    """
    examples = open_examples(split, window)
    ds = in_training_order(
        examples.read,
        num_shards=len(split.paths),
        num_examples=split.num_examples,
        seed=seed,
        window=window,
        start=start_step * batch_size,
    )
    ds = leave_out(ds, left_out, batch_size)
    ds = own_rows(ds, batch_size, worker)

    def load(place: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, ...]:
        jpeg, label = examples.take(key)
        image = view.training(jpeg, place)
        label = tf.one_hot(label, len(split.classes))
        return (image, label, mixing.draw(seed, place)) if mixup or cutmix else (image, label)

    ds = ds.map(load, num_parallel_calls=parallel_decodes(), deterministic=True)
    # Endless, so nothing is dropped.
    ds = ds.batch(worker.get_per_replica_batch_size(batch_size), drop_remainder=True)
    if mixup or cutmix:
        ds = ds.map(mixing.mixer(mixup, cutmix), num_parallel_calls=cores.available())
    return ds.prefetch(PREFETCHED).with_options(decoding_options())


def in_training_order(
    read: Callable[[tf.Tensor], tf.data.Dataset],
    *,
    num_shards: int,
    num_examples: int,
    seed: int,
    start: int,
    window: int | None = None,
) -> tf.data.Dataset:
    """Returns an endless stream of (place in the stream, example), in an order that is all its own.

    Args:
        read: Returns the examples of a shard, given its number: photographs, or what stands for
            them. They should be small, and passing over one should cost little.
        num_shards: Of the split.
        num_examples: In all of them.
        seed: Another seed gives other permutations.
        start: The place of the first example.
        window: How many are shuffled together; None: all.
    """

    def windows(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffle = functools.partial(_shuffle, seed=[seed, epoch])
        at_once = min(PARALLEL_READS, num_shards)
        shards = tf.data.Dataset.from_tensor_slices(shuffle(tf.range(num_shards)))
        threads = at_once if window and window < num_examples else None  # Else nothing is read.
        ds = shards.interleave(read, cycle_length=at_once, num_parallel_calls=threads)
        return ds.batch(window or num_examples).map(shuffle)

    ds = tf.data.Dataset.range(start // num_examples, tf.int64.max).flat_map(windows)
    ds = ds.prefetch(1).unbatch()  # One is read while one is given out, also of the next epoch.
    ds = ds.skip(start % num_examples)  # Before decode: skipping costs a read, not a decode.
    return ds.enumerate(start)


# tf.data's own shuffle would mix in TensorFlow's global seed; this one knows its arguments alone.
_shuffle = tf.random.experimental.stateless_shuffle


def leave_out(ds: tf.data.Dataset, batches: Sequence[int], batch_size: int) -> tf.data.Dataset:
    """Takes whole batches out of a stream of (place, example), while it still costs little."""
    if not batches:
        return ds
    gone = tf.constant(list(batches), tf.int64)
    return ds.filter(lambda place, _: tf.reduce_all(place // batch_size != gone))


def examples_in_batch(
    split: Split, *, batch: int, batch_size: int, seed: int, window: int
) -> list[dict[str, Any]]:
    """Returns the id and the file name of each example in a batch of the training stream."""
    ds = in_training_order(
        ReadExamples(split.paths).read,
        num_shards=len(split.paths),
        num_examples=split.num_examples,
        seed=seed,
        window=window,
        start=batch * batch_size,
    )
    ds = ds.take(batch_size).map(lambda _, serialized: reader.parse_origin(serialized))
    return [
        {"id": int(example["image/id"]), "name": example["image/filename"].decode()}
        for example in ds.as_numpy_iterator()
    ]


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


def evaluation_batches(
    split: Split,
    *,
    batch_size: int,
    view: View = DEFAULT_VIEW,
    worker: tf.distribute.InputContext = ALONE,
) -> tf.data.Dataset:
    """Returns the images of a split in the order of its shards, in full batches.

    A replica without rows would crash, so the first image fills the last batch up: drop all after
    num_examples.

    Yields:
        RGB uint8 [rows, size, size, 3], where rows is a replica's share of the global batch.
    """
    examples = open_examples(split, window=0)  # None are shuffled.
    ds = tf.data.Dataset.range(len(split.paths)).flat_map(examples.read)
    ds = ds.concatenate(ds.take(1).cache().repeat(-split.num_examples % batch_size))
    ds = own_rows(ds, batch_size, worker)
    ds = ds.map(
        lambda key: view.centre(examples.take(key)[0]),
        num_parallel_calls=parallel_decodes(),
        deterministic=True,
    )
    ds = ds.batch(worker.get_per_replica_batch_size(batch_size), drop_remainder=True)
    return ds.prefetch(PREFETCHED).with_options(decoding_options())


def worker_options() -> tf.data.Options:
    """Each worker takes its rows itself; no shard is anybody's own."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.autotune.enabled = False  # It takes a share of the time that it would save.
    return options


def decoding_options() -> tf.data.Options:
    """The same, where photographs are decoded."""
    options = worker_options()
    options.experimental_optimization.map_and_batch_fusion = True  # Decodes into the batch.
    options.threading.max_intra_op_parallelism = 1  # Images side by side, each on one core.
    return options


def parallel_decodes() -> int:
    """Two for each core, so that none waits while the examples in front of its own are awaited."""
    return 2 * cores.available()
