"""The source of a model's batches: photographs, or whatever else stands for them."""

import dataclasses
from typing import Protocol

import tensorflow as tf

from cli import machine
from trainer.config import TrainConfig
from trainer.data import mixing
from trainer.data.examples import PREFETCHED, open_examples
from trainer.data.order import ALONE, Order, full_batches_once, own_rows
from trainer.data.split import Split
from trainer.data.view import View


class Source(Protocol):
    """Where the batches of training and evaluation come from.

    A worker gets its rows of each global batch alone, a replica's share of them at a time.
    """

    @property
    def view(self) -> View:
        """What the model sees of each photograph."""
        ...

    def training_batches(
        self,
        split: Split,
        order: Order,
        start_step: int = 0,
        worker: tf.distribute.InputContext = ALONE,
    ) -> tf.data.Dataset:
        """Returns an endless stream of full batches, (inputs, labels), from a step on."""
        ...

    def evaluation_batches(
        self,
        split: Split,
        batch_size: int,
        worker: tf.distribute.InputContext = ALONE,
        view: int = 0,
    ) -> tf.data.Dataset:
        """Returns one of the tested views of a split in the order of its shards, in full batches.

        The first example fills the last batch up: drop all after num_examples.
        """
        ...


@dataclasses.dataclass(frozen=True)
class PhotographSource:
    """Batches of photographs, decoded as they are needed.

    Attributes:
        view: What the model sees of each photograph.
        mixup: Alpha of mixup, which blends pairs; 0: none are.
        cutmix: Alpha of CutMix, whose pairs swap a box; 0: none do.
    """

    view: View = dataclasses.field(default_factory=View)
    mixup: float = TrainConfig.mixup
    cutmix: float = TrainConfig.cutmix

    @classmethod
    def from_config(cls, config: TrainConfig) -> "PhotographSource":
        """The photographs of a run."""
        return cls(View.from_config(config), config.mixup, config.cutmix)

    def training_batches(
        self,
        split: Split,
        order: Order,
        start_step: int = 0,
        worker: tf.distribute.InputContext = ALONE,
    ) -> tf.data.Dataset:
        """Returns an endless stream of full batches from a step on.

            from tfrecords.manifest import read_manifest
            from trainer.data.order import Order
            from trainer.data.source import PhotographSource
            from trainer.data.split import find_split
            from trainer.data.view import View

            split = find_split(data_dir, read_manifest(data_dir), "train")
            source = PhotographSource(View(augment="flip"))
            batches = source.training_batches(split, Order(seed=0, batch_size=8), start_step=3)
            images, labels = next(iter(batches))

        Args:
            split: With an index, only the examples of the worker's rows are read.
            worker: Who decodes only its rows of each global batch, a replica's at a time.

        Yields:
            (images, labels): RGB uint8 [rows, size, size, 3]; one-hot or mixed float32
            [rows, classes], where rows is a replica's share of the global batch.
        """
        examples = open_examples(split, order.window)
        ds = order.examples(split, examples.read, start_step, examples.ahead)
        ds = own_rows(ds, order.batch_size, worker)
        mixes = self.mixup or self.cutmix

        def load(position: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, ...]:
            jpeg, label = examples.take(key)
            image = self.view.training(jpeg, position)
            label = tf.one_hot(label, len(split.classes))
            return (image, label, mixing.draw(order.seed, position)) if mixes else (image, label)

        ds = ds.map(load, num_parallel_calls=parallel_decodes(), deterministic=True)
        # Endless, so nothing is dropped.
        ds = ds.batch(worker.get_per_replica_batch_size(order.batch_size), drop_remainder=True)
        if mixes:
            mix = mixing.mixer(self.mixup, self.cutmix)
            ds = ds.map(mix, num_parallel_calls=machine.cores())
        return ds.prefetch(PREFETCHED).with_options(decoding_options())

    def evaluation_batches(
        self,
        split: Split,
        batch_size: int,
        worker: tf.distribute.InputContext = ALONE,
        view: int = 0,
    ) -> tf.data.Dataset:
        """Returns the images of a split in the order of its shards, in full batches.

        The first image fills the last batch up: drop all after num_examples.

        Args:
            view: Which of the view's `tested_views`.

        Yields:
            RGB [rows, size, size, 3] of the view's dtype, where rows is a replica's share of the
            global batch.
        """
        examples = open_examples(split, window=0)  # None are shuffled.
        shards = tf.data.Dataset.range(len(split.paths))
        ds = examples.ahead(shards).flat_map(examples.read)
        first = shards.flat_map(examples.read)  # Without those behind it.
        ds = full_batches_once(ds, split.num_examples, batch_size, first)
        ds = own_rows(ds, batch_size, worker)
        ds = ds.map(
            lambda key: self.view.tested(examples.take(key)[0], view),
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
    return 2 * machine.cores()
