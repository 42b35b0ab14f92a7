"""Whether a run trains from features, and if not, why not."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from buckets import urls
from cli import machine
from tfrecords.manifest import Manifest
from trainer.config import TrainConfig
from trainer.data.split import Split
from trainer.data.view import View
from trainer.distribute.strategy import is_on_cpu
from trainer.features.source import FeatureSource
from trainer.features.store import FeatureStore
from trainer.model.division import UndividedError
from trainer.workdir.mirror import shown

# Floating-point operations that must be spared for a byte to be worth keeping: what a device does
# while a disk, or the system's cache of it, gives one. Two cores were seen to do 500 billion a
# second, GPUs do tens of thousands of billions, and 1 GB comes back in a second.
_WORTH_ON_CPU, _WORTH_ON_GPU = 500, 20_000


def choose_features(
    config: TrainConfig,
    model: keras.Model,
    manifest: Manifest,
    splits: Sequence[Split],
    strategy: tf.distribute.Strategy,
) -> FeatureSource | None:
    """Returns the features that the run trains from; None where it does not. Prints which, and why.

    Raises:
        ValueError: if --cache_features=on and there can be none.
    """
    if config.cache_features == "off":
        return None
    try:
        features = FeatureSource.from_config(config, model, manifest)
    except UndividedError as error:
        if config.cache_features == "on" or config.needs_features:
            raise
        print(f"Frozen layers: computed in every step. {error}", flush=True)
        return None
    store = features.store
    size = machine.readable(store.nbytes(splits))
    are_several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    hindrance = _hindrance(config, store, splits, are_several)
    if hindrance and config.cache_features == "on":
        raise ValueError(f"{hindrance}. Received: cache_features=on. Use auto or off.")
    if hindrance and config.needs_features:
        raise ValueError(
            f"{hindrance}. Received: head_init={config.head_init}, "
            f"feature_norm={config.feature_norm}, object_crops={config.object_crops}, which need "
            "features."
        )
    loss = hindrance or why_not_worth(config, features, is_on_cpu(strategy))
    if config.cache_features == "auto" and loss and not config.needs_features:
        print(f"Frozen layers: computed in every step. {loss}.", flush=True)
        return None
    other = "" if config.needs_features else " (--cache_features=off computes them in every step)"
    print(
        f"Frozen layers: computed once, to features of {size} in {shown(store.folder)}{other}.",
        flush=True,
    )
    return features


def _hindrance(
    config: TrainConfig, store: FeatureStore, splits: Sequence[Split], are_several: bool
) -> str:
    """Why there can be no features; "" where there can."""
    if are_several and urls.is_remote(config.workdir) and not config.cache_dir:
        return "Features are read from a file system that all workers share: name --cache_dir"
    if config.mixup or config.cutmix:
        return "No image is seen twice under --mixup or --cutmix"
    if View.from_config(config).num_views is None:
        keeps = "; --cache_views=K keeps K views of each" if config.augment == "full" else ""
        return f"No image is seen twice under --augment={config.augment}{keeps}"
    if config.freeze_layers == 0:
        return "No layer is frozen (--freeze_layers=0)"
    try:
        machine.require_disk(store.folder, store.nbytes_missing(splits))
    except ValueError as error:
        return str(error).removesuffix(".")
    return ""


def why_not_worth(config: TrainConfig, features: FeatureSource, on_cpu: bool) -> str:
    """Why features would not be exact or save nothing; "" where they are and do."""
    if config.epochs <= features.store.num_views:
        return f"{config.epochs} epochs need each view of an image no more than once"
    worth = _WORTH_ON_CPU if on_cpu else _WORTH_ON_GPU
    spared = spared_operations(features)
    if spared < worth:
        return (
            f"Reading a byte back takes longer than the {spared:,.0f} operations that it stands for"
        )
    return ""


def spared_operations(features: FeatureSource) -> float:
    """Floating-point operations of the frozen layers, for each byte that stands for them."""
    operations = sum(  # Of a kernel, a multiplication and an addition at each place.
        2 * math.prod(weight.shape) * math.prod(layer.output.shape[1:-1])
        for layer in features.frozen.layers
        for weight in layer.weights
        if len(weight.shape) > 1
    )
    return operations / features.store.view_bytes
