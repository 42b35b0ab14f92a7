"""Computes features: runs the frozen layers over every photograph, once, and fills the store."""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from cli.progress import Progress
from tfrecords import reader
from trainer.data import records
from trainer.data.source import decoding_options, parallel_decodes
from trainer.data.split import Split
from trainer.data.view import Shown, View
from trainer.distribute.workers import Workers
from trainer.features.handover import hand_over
from trainer.features.source import FeatureSource
from trainer.features.store import FeatureStore, shards_of
from trainer.numerics.reproducible_model import in_pieces


def fill(
    features: FeatureSource,
    splits: Sequence[Split],
    *,
    model: keras.Model,
    batch_size: int,
    workers: Workers,
) -> None:
    """Computes the shards that are missing or damaged; each worker its share of them.

    Args:
        model: The one that is trained: its strategy computes, in pieces of its micro-batch.
        batch_size: The global one, over all replicas.

    Raises:
        ValueError: if the disk has no room for them.
    """
    store = features.store
    # Of all shards: which are missing depends on how far the other workers are.
    missing = [shard for shard in workers.own(shards_of(splits)) if not store.is_whole(shard)]
    if not missing:
        return
    store.create(missing)
    count = sum(store.num_examples(path) for _, path in missing)
    print(f"Computing the features of {count:,} photographs ...", flush=True)
    with records.naming_failures(*splits), Progress(count, "photographs") as progress:
        for split in splits:
            paths = [path for owner, path in missing if owner is split]
            if not paths:
                continue
            write = functools.partial(_write, store, split, paths, progress)
            hand_over(_compute(features, split, paths, model, batch_size), write)


def _write(
    store: FeatureStore,
    split: Split,
    paths: Sequence[str],
    progress: Progress,
    batches: Iterator[np.ndarray],
) -> None:
    """Writes shards of the views that come in batches, which run on from one into the next."""
    views = itertools.chain.from_iterable(batches)
    for path in paths:
        records = _records(views, store.num_examples(path), len(store.views_in(split)))
        store.write(path, _counted(records, progress))


def _records(views: Iterator[np.ndarray], count: int, num_views: int) -> Iterator[bytes]:
    """Takes so many examples' views, and joins each one's."""
    for _ in range(count):
        yield b"".join(view.tobytes() for view in itertools.islice(views, num_views))


def _compute(
    features: FeatureSource,
    split: Split,
    paths: Sequence[str],
    model: keras.Model,
    batch_size: int,
) -> Iterator[np.ndarray]:
    """Yields the features of every view of every example, in batches, in order; then padding.

    What a batch became is read back once the next one is on its way, for which a GPU would wait.
    """
    strategy = model.distribute_strategy
    replicas = len(strategy.extended.worker_devices)  # Of this worker.
    rows = batch_size // strategy.num_replicas_in_sync * replicas

    @tf.function
    def compute(images: tf.Tensor) -> tf.Tensor:
        return strategy.run(forward, args=(images,))

    def forward(images: tf.Tensor) -> tf.Tensor:
        out = in_pieces(features.frozen, images, model.sums.parts, model.microbatch)
        return tf.cast(out, features.store.dtype)

    def launched() -> Iterator[tf.Tensor]:
        for images in _batches(features, split, paths, rows):
            parts = tf.split(images, replicas)
            yield compute(
                strategy.experimental_distribute_values_from_function(
                    lambda context, parts=parts: parts[context.replica_id_in_sync_group % replicas]
                )
            )

    for computed, _ in itertools.pairwise(itertools.chain(launched(), [None])):
        for share in strategy.experimental_local_results(computed):
            yield share.numpy()


def _batches(
    features: FeatureSource, split: Split, paths: Sequence[str], rows: int
) -> tf.data.Dataset:
    """Every view of every example, in order, in full batches; black images behind them.

    Yields:
        RGB [rows, size, size, 3], uint8 or what else the view's dtype is.
    """
    store, view = features.store, features.view
    shown = store.views_in(split)
    num_images = len(shown) * sum(map(store.num_examples, paths))
    black = tf.zeros([view.size, view.size, 3], view.dtype)
    first = tf.constant(split.starts, tf.int64)
    shards = tf.data.Dataset.from_tensor_slices([split.paths.index(path) for path in paths])
    ds = records.ahead(split, shards).flat_map(
        lambda shard: records.read(split, shard).enumerate(first[shard])
    )
    ds = ds.map(
        functools.partial(_views, view=view, shown=shown),
        num_parallel_calls=parallel_decodes(),
        deterministic=True,
    )
    ds = ds.unbatch()
    # A replica without rows would crash.
    ds = ds.concatenate(tf.data.Dataset.from_tensors(black).repeat(-num_images % rows))
    ds = ds.batch(rows, drop_remainder=True)
    return ds.prefetch(2).with_options(decoding_options())


def _views(
    index: tf.Tensor, serialized: tf.Tensor, *, view: View, shown: tuple[Shown, ...]
) -> tf.Tensor:
    """Returns these views of the example of this index, [num_views, size, size, 3]."""
    jpeg, box = reader.parse_example(serialized)["image"], reader.parse_box(serialized)
    return view.stack(shown, jpeg, box, index)


def _counted(records: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for record in records:
        yield record
        progress.add(1)
