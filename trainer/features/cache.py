"""Features: what the frozen layers make of each image, computed once and kept in shards.

What stands before the first layer that trains is a function of the image alone, and takes most of a
step's time. The layers behind it are trained from its stored output, by the same `fit`: the same
examples in the same order give the same update, and without a --cache_dtype the same bits.
"""

import bisect
import functools
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from cli import disk
from cli.progress import Progress
from tfrecords import files, framing, reader
from tfrecords.manifest import Manifest
from tfrecords.writer import write_shard
from trainer.config import TrainConfig
from trainer.data import input_pipeline
from trainer.data.examples import labels_of
from trainer.data.split import Split
from trainer.data.view import View
from trainer.distribute.cluster import Cluster
from trainer.distribute.strategy import is_on_cpu
from trainer.model.division import cut
from trainer.numerics.reproducible_model import in_pieces

_ENCODING = 1  # Raised with every change that makes other features of the same image and weights.

# Floating-point operations that must be spared for a byte to be worth keeping: what a device does
# while a disk, or the system's cache of it, gives one. Two cores were seen to do 500 billion a
# second, GPUs do tens of thousands of billions, and 1 GB comes back in a second.
_WORTH_ON_CPU, _WORTH_ON_GPU = 500, 20_000


class FeatureCache:
    """The features of a dataset's images under a model's frozen layers.

    Attributes:
        frozen: The layers before the first that trains: images in, features out.
        rest: The layers from the first that trains on: features in, probabilities out.
        folder: Where the shards are. A digest of all that decides their bytes is its name, so they
            are never stale, and runs may share the folder that it is in.
        num_views: Of each training image: 2 where `flip` takes one or the other, --cache_views
            where they are drawn. Validation images have one.
    """

    def __init__(self, config: TrainConfig, model: keras.Model, manifest: Manifest) -> None:
        self.frozen, self.rest = cut(model)
        self._shape = tuple(self.frozen.output.shape[1:])
        self._dtype = tf.as_dtype(config.cache_dtype or self.frozen.output.dtype)
        self._view, self._batch_size = View.from_config(config), config.batch_size
        self._is_shared = config.cache_dir is not None
        self.num_views = count_views(config)
        self._examples = {shard.file: shard.examples for shard in manifest.shards}
        self._description = self._describe(manifest.digest)
        digest = hashlib.sha256(json.dumps(self._description, sort_keys=True).encode()).hexdigest()
        self.folder = Path(config.cache_dir or f"{config.workdir}/features") / digest[:16]

    def _describe(self, dataset: str) -> dict[str, Any]:
        """All that decides the bytes of the shards."""
        weights = hashlib.sha256()
        for array in self.frozen.get_weights():
            weights.update(array.tobytes())
        return {
            "encoding": _ENCODING,
            "dataset": dataset,
            "image_size": self._view.size,
            "augment": self._view.augment,
            "num_views": self.num_views,
            "seed_of_views": self._view.seed if self._view.augment == "full" else None,
            "layers": [(layer.name, layer.dtype_policy.name) for layer in self.frozen.layers],
            "weights": weights.hexdigest(),
            "shape": self._shape,
            "dtype": self._dtype.name,
            "tensorflow": tf.__version__,
        }

    def nbytes(self, splits: Sequence[Split]) -> int:
        """What the shards of the splits take on disk."""
        return sum(self._shard_bytes(split, path) for split in splits for path in split.paths)

    def nbytes_missing(self, splits: Sequence[Split]) -> int:
        """What is still to be written of them."""
        shards = ((split, path) for split in splits for path in split.paths)
        return sum(
            self._shard_bytes(*shard) for shard in shards if not self._path(shard[1]).exists()
        )

    @property
    def spared_operations(self) -> float:
        """Floating-point operations of the frozen layers, for each byte that stands for them."""
        operations = sum(  # Of a kernel, a multiplication and an addition at each place.
            2 * math.prod(weight.shape) * math.prod(layer.output.shape[1:-1])
            for layer in self.frozen.layers
            for weight in layer.weights
            if len(weight.shape) > 1
        )
        return operations / self._view_bytes

    def fill(self, splits: Sequence[Split], model: keras.Model, cluster: Cluster | None) -> None:
        """Computes the shards that are missing or damaged; each worker its share of them.

        Raises:
            ValueError: if the disk has no room for them.
        """
        shards = [(split, path) for split in splits for path in split.paths]
        if cluster:  # Of all shards: which are missing depends on how far the others are.
            shards = shards[cluster.rank :: len(cluster.addresses)]
        missing = [shard for shard in shards if not self._is_whole(*shard)]
        if not missing:
            return
        disk.require_room(self.folder, sum(itertools.starmap(self._shard_bytes, missing)))
        self.folder.mkdir(parents=True, exist_ok=True)
        description = json.dumps(self._description, indent=2) + "\n"
        files.write_atomically(self.folder / "features.json", description)
        count = sum(self._count(path) for _, path in missing)
        print(f"Computing the features of {count:,} photographs ...", flush=True)
        with Progress(count, "photographs") as progress:
            for split in splits:
                paths = [path for owner, path in missing if owner is split]
                self._write(split, paths, model, progress)

    def training_stream(
        self,
        split: Split,
        *,
        batch_size: int,
        seed: int,
        window: int | None = None,
        start_step: int = 0,
        left_out: Sequence[int] = (),
        worker: tf.distribute.InputContext = input_pipeline.ALONE,
    ) -> tf.data.Dataset:
        """As `input_pipeline.training_stream`, with features, [rows, ...], in place of images."""
        first = tf.constant(split.starts, tf.int64)
        ds = input_pipeline.in_training_order(
            lambda shard: tf.data.Dataset.range(first[shard], first[shard + 1]),
            num_shards=len(split.paths),
            num_examples=split.num_examples,
            seed=seed,
            window=window,
            start=start_step * batch_size,
        )
        ds = input_pipeline.leave_out(ds, left_out, batch_size)
        ds = input_pipeline.own_rows(ds, batch_size, worker)
        ds = ds.map(lambda place, index: (index, self._number_of_view(split, place, index)))
        ds = ds.batch(worker.get_per_replica_batch_size(batch_size), drop_remainder=True)
        labels = tf.constant(labels_of(split))
        look_up = self._look_up(split)
        ds = ds.map(
            lambda indices, views: (
                look_up(indices, views),
                tf.one_hot(tf.gather(labels, indices), len(split.classes)),
            ),
            num_parallel_calls=1,  # Beside the steps: copying is cheap, and its memory is not.
        )
        return ds.prefetch(2).with_options(input_pipeline.worker_options())

    def evaluation_batches(
        self,
        split: Split,
        *,
        batch_size: int,
        worker: tf.distribute.InputContext = input_pipeline.ALONE,
    ) -> tf.data.Dataset:
        """As `input_pipeline.evaluation_batches`, with features, [rows, ...], for images."""
        ds = tf.data.Dataset.range(split.num_examples)
        first = tf.data.Dataset.from_tensors(tf.constant(0, tf.int64))
        ds = ds.concatenate(first.repeat(-split.num_examples % batch_size))
        ds = input_pipeline.own_rows(ds, batch_size, worker)
        ds = ds.batch(worker.get_per_replica_batch_size(batch_size), drop_remainder=True)
        look_up = self._look_up(split)
        ds = ds.map(lambda indices: look_up(indices, tf.zeros_like(indices)))
        return ds.prefetch(2).with_options(input_pipeline.worker_options())

    def _number_of_view(self, split: Split, place: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """Which view of an example the place in the stream takes."""
        if self._view.augment == "flip":
            return tf.cast(self._view.mirrored(place), tf.int64)
        epoch = place // split.num_examples
        return (epoch + index) % self.num_views  # Each in turn; not the same ones in one epoch.

    def _look_up(self, split: Split) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """Returns what gives features, [rows, ...], for examples, [rows], and views, [rows]."""
        records = [
            np.memmap(self._path(path), np.uint8, "r").reshape(-1, self._frame_bytes(split))
            for path in split.paths
        ]
        ends = list(itertools.accumulate(map(len, records)))

        def gather(indices: np.ndarray, views: np.ndarray) -> np.ndarray:
            rows = np.empty([len(indices), self._view_bytes], np.uint8)
            for out, index, view in zip(rows, indices, views, strict=True):
                shard = bisect.bisect_right(ends, index)
                start = framing.HEADER_BYTES + view * self._view_bytes
                record = records[shard][index - ends[shard]]  # Counted from the shard's end.
                out[:] = record[start : start + self._view_bytes]
            return rows

        def look_up(indices: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
            rows = tf.numpy_function(gather, [indices, views], tf.uint8, stateful=False)
            rows = tf.reshape(rows, [indices.shape[0], *self._shape, self._dtype.size])
            return tf.bitcast(rows, self._dtype)

        return look_up

    def _write(
        self,
        split: Split,
        paths: Sequence[str],
        model: keras.Model,
        progress: Progress,
    ) -> None:
        """Computes shards one after the other, in batches that run on from one into the next."""
        if not self._is_shared:  # Else another run may be writing the same one.
            for path in paths:
                files.remove_incomplete(self.folder, self._path(path).name)
        features = self._compute(split, paths, model)
        for path in paths:
            views = (row.tobytes() for row in features)
            records = (
                b"".join(itertools.islice(views, self._views_in(split)))
                for _ in range(self._count(path))
            )
            write_shard(self._path(path), _counted(records, progress))

    def _compute(
        self, split: Split, paths: Sequence[str], model: keras.Model
    ) -> Iterator[np.ndarray]:
        """Yields the features of every view of every example, in order; padding behind them."""
        strategy = model.distribute_strategy
        replicas = len(strategy.extended.worker_devices)  # Of this worker.
        rows = self._batch_size // strategy.num_replicas_in_sync * replicas
        num_images = self._views_in(split) * sum(map(self._count, paths))
        black = tf.zeros([self._view.size, self._view.size, 3], tf.uint8)
        first_of = dict(zip(split.paths, split.starts, strict=False))
        first = tf.constant([first_of[path] for path in paths], tf.int64)
        shards = tf.data.Dataset.from_tensor_slices((list(paths), first))
        ds = shards.flat_map(lambda path, first: reader.read_serialized(path).enumerate(first))
        ds = ds.map(
            functools.partial(self._views, num_views=self._views_in(split)),
            num_parallel_calls=input_pipeline.parallel_decodes(),
            deterministic=True,
        )
        ds = ds.unbatch()
        # A replica without rows would crash.
        ds = ds.concatenate(tf.data.Dataset.from_tensors(black).repeat(-num_images % rows))
        ds = ds.batch(rows, drop_remainder=True)
        ds = ds.prefetch(2).with_options(input_pipeline.decoding_options())

        @tf.function
        def compute(images: tf.Tensor) -> tf.Tensor:
            return strategy.run(self._features, args=(images, model.parts, model.microbatch))

        for images in ds:
            parts = tf.split(images, replicas)
            shares = strategy.experimental_distribute_values_from_function(
                lambda context, parts=parts: parts[context.replica_id_in_sync_group % replicas]
            )
            for features in strategy.experimental_local_results(compute(shares)):
                yield from features.numpy()

    def _features(self, images: tf.Tensor, parts: int, microbatch: int | None) -> tf.Tensor:
        return tf.cast(in_pieces(self.frozen, images, parts, microbatch), self._dtype)

    def _views(self, index: tf.Tensor, serialized: tf.Tensor, *, num_views: int) -> tf.Tensor:
        """Returns every view of the example of this index, uint8 [num_views, size, size, 3]."""
        return self._view.kept(reader.parse_example(serialized)["image"], index, num_views)

    def _is_whole(self, split: Split, path: str) -> bool:
        """Whether a shard is there, of the right size, and every record matches its CRC."""
        shard = self._path(path)
        if not shard.exists() or shard.stat().st_size != self._shard_bytes(split, path):
            return False
        with shard.open("rb") as file:
            damaged = any(r.damage for r in framing.read_frames(file, shard.stat().st_size))
        if damaged:
            logging.warning("A shard of features is damaged, and is computed again: %s.", shard)
        return not damaged

    def _path(self, path: str) -> Path:
        """Of the features of a shard."""
        return self.folder / Path(path).name

    def _count(self, path: str) -> int:
        return self._examples[Path(path).name]

    def _views_in(self, split: Split) -> int:
        return self.num_views if split.name == "train" else 1

    @property
    def _view_bytes(self) -> int:
        return math.prod(self._shape) * self._dtype.size

    def _frame_bytes(self, split: Split) -> int:
        """Of a record, which is every view of one example."""
        return len(framing.frame(bytes(self._views_in(split) * self._view_bytes)))

    def _shard_bytes(self, split: Split, path: str) -> int:
        return self._count(path) * self._frame_bytes(split)


def _counted(records: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for record in records:
        yield record
        progress.add(1)


def count_views(config: TrainConfig) -> int:
    """How many views of a training image the run takes."""
    return config.cache_views or (2 if config.augment == "flip" else 1)


def choose(
    config: TrainConfig,
    model: keras.Model,
    manifest: Manifest,
    splits: Sequence[Split],
    strategy: tf.distribute.Strategy,
) -> FeatureCache | None:
    """Returns the cache that the run trains from; None where it does not. Prints which, and why.

    Raises:
        ValueError: if --cache_features=on and there can be none.
    """
    if config.cache_features == "off":
        return None
    cache = FeatureCache(config, model, manifest)
    size = disk.readable(cache.nbytes(splits))
    hindrance = _hindrance(config, cache, splits)
    if hindrance and config.cache_features == "on":
        raise ValueError(f"{hindrance}. Received: cache_features=on. Use auto or off.")
    loss = hindrance or why_not_worth(config, cache, is_on_cpu(strategy))
    if config.cache_features == "auto" and loss:
        print(f"Frozen layers: computed in every step. {loss}.", flush=True)
        return None
    print(
        f"Frozen layers: computed once, to features of {size} in {cache.folder} "
        "(--cache_features=off computes them in every step).",
        flush=True,
    )
    return cache


def _hindrance(config: TrainConfig, cache: FeatureCache, splits: Sequence[Split]) -> str:
    """Why there can be no features; "" where there can."""
    if "://" in str(config.cache_dir or config.workdir):
        return "Features are read at random, from a file system: name one with --cache_dir"
    if config.mixup or config.cutmix:
        return "No image is seen twice under --mixup or --cutmix"
    if config.augment == "full" and not config.cache_views:
        return "No image is seen twice under --augment=full; --cache_views=K keeps K views of each"
    if not config.freeze_layers:
        return "No layer is frozen (--freeze_layers=0)"
    try:
        disk.require_room(cache.folder, cache.nbytes_missing(splits))
    except ValueError as error:
        return str(error).removesuffix(".")
    return ""


def why_not_worth(config: TrainConfig, cache: FeatureCache, on_cpu: bool) -> str:
    """Why features would not be exact or save nothing; "" where they are and do."""
    if config.epochs <= cache.num_views:
        return f"{config.epochs} epochs need each view of an image no more than once"
    worth = _WORTH_ON_CPU if on_cpu else _WORTH_ON_GPU
    if cache.spared_operations < worth:
        return (
            f"Reading a byte back takes longer than the {cache.spared_operations:,.0f} operations "
            "that it stands for"
        )
    return ""
