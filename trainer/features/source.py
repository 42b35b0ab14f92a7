"""The source of batches of features: the same examples in the same order, the frozen part done."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfrecords.manifest import Manifest
from trainer.config import TrainConfig
from trainer.data.examples import labels_by_number, numbers_in
from trainer.data.order import ALONE, Order, full_batches_once, own_rows
from trainer.data.source import worker_options
from trainer.data.split import Split
from trainer.data.view import View
from trainer.features.gatherer import Gatherer, Pages
from trainer.features.store import FeatureStore
from trainer.model.division import cut

_PREFETCHED = 2  # Batches.


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSource:
    """Batches of features, read back from their store, which `compute.fill` has filled before.

    Attributes:
        view: What the frozen layers see of each photograph.
        frozen: The layers before the first that trains: images in, features out.
        rest: The layers from the first that trains on: features in, probabilities out.
        pages: Where its batches lie.
    """

    store: FeatureStore
    view: View
    frozen: keras.Model
    rest: keras.Model
    pages: Pages = dataclasses.field(default_factory=Pages, repr=False)

    @classmethod
    def from_config(
        cls, config: TrainConfig, model: keras.Model, manifest: Manifest
    ) -> "FeatureSource":
        """The features of a dataset's images under a model's frozen layers."""
        frozen, rest = cut(model, before_head=config.cache_maps)
        store = FeatureStore(config, frozen, manifest)
        return cls(store, View.from_config(config), frozen, rest)

    def training_batches(
        self,
        split: Split,
        order: Order,
        start_step: int = 0,
        worker: tf.distribute.InputContext = ALONE,
    ) -> tf.data.Dataset:
        """As `PhotographSource.training_batches`, with features, [rows, ...], for images."""
        ds = order.examples(split, numbers_in(split), start_step)
        ds = own_rows(ds, order.batch_size, worker)
        count = split.num_examples
        ds = ds.map(lambda position, index: (index, self.view.kept_number(position, index, count)))
        ds = ds.batch(worker.get_per_replica_batch_size(order.batch_size), drop_remainder=True)
        labels = tf.constant(labels_by_number(split))
        look_up = self.look_up(split)
        ds = ds.map(
            lambda indices, views: (
                look_up(indices, views),
                tf.one_hot(tf.gather(labels, indices), len(split.classes)),
            ),
            num_parallel_calls=1,  # Beside the steps; its threads share one batch's memory.
        )
        return ds.prefetch(_PREFETCHED).with_options(worker_options())

    def evaluation_batches(
        self,
        split: Split,
        batch_size: int,
        worker: tf.distribute.InputContext = ALONE,
        view: int = 0,
    ) -> tf.data.Dataset:
        """As `PhotographSource.evaluation_batches`, with features, [rows, ...], for images."""
        position = self.store.views_in(split).index(self.view.tested_views[view])
        ds = tf.data.Dataset.from_tensor_slices(split.numbers)
        ds = full_batches_once(ds, split.num_examples, batch_size)
        ds = own_rows(ds, batch_size, worker)
        ds = ds.batch(worker.get_per_replica_batch_size(batch_size), drop_remainder=True)
        look_up = self.look_up(split)
        ds = ds.map(lambda indices: look_up(indices, tf.fill(indices.shape, np.int64(position))))
        return ds.prefetch(_PREFETCHED).with_options(worker_options())

    def look_up(
        self, split: Split, threads: int | None = None
    ) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """Returns what gives features, [rows, ...], for examples, [rows], and views, [rows].

        Args:
            threads: As `Gatherer` takes it.
        """
        store = self.store
        records = store.open(split)
        gather = Gatherer(records, store.view_bytes, self.pages, threads).gather

        def look_up(indices: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
            rows = tf.numpy_function(gather, [indices, views], tf.uint8, stateful=False)
            rows = tf.reshape(rows, [indices.shape[0], *store.shape, store.dtype.size])
            return tf.bitcast(rows, store.dtype)

        return look_up
