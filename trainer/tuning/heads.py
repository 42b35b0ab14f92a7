"""Trains one head after another on features, in one process: a fold's figures in seconds."""

import dataclasses
import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfrecords.files import atomic_writer
from tfrecords.manifest import read_manifest
from trainer import divergence, microbatch
from trainer.config import TrainConfig
from trainer.features import vectors
from trainer.features.source import FeatureSource
from trainer.head_start import fit_head
from trainer.model.backbone import named
from trainer.model.head import CLASSIFIER, PLACES, STANDARDIZE, STANDARDIZE_PLACES
from trainer.model.moving_average import averaged
from trainer.outcome import predict_validation
from trainer.results import evaluation
from trainer.run import Run
from trainer.train import fill_features, prepare, settle, training_batches
from trainer.workdir.files import Workdir, write_json

# The heads that make no short vector of a feature map before their first weight.
_OF_MAPS = ("flatten", "places")

# What is fitted before the first step, and the flags of the search that come in after it.
_FITTED = (STANDARDIZE, CLASSIFIER, STANDARDIZE_PLACES, PLACES)
_NO_MATTER = (
    "epochs", "optimizer", "learning_rate", "weight_decay", "dropout", "label_smoothing",
)  # fmt: skip


class Heads:
    """What stays from one head to the next.

    Args:
        folder: Where what the heads make of the feature maps is kept, and what was fitted to it.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._strategy: tf.distribute.Strategy | None = None
        self._is_there: set[str] = set()  # Folders of features, all of whose shards are.

    def measure(self, config: TrainConfig) -> None:
        """Writes the figures that `train.train` would, and the predictions; no model, no report.

        Args:
            config: A fold's, under which the head alone trains.

        Raises:
            RuntimeError: if a step gave no number.
        """
        keras.backend.clear_session()
        run = self._prepare(config)
        workdir = Workdir(config.workdir)
        workdir.root.mkdir(parents=True, exist_ok=True)
        write_json(workdir.config, run.identity)
        with microbatch.naming_one_that_fits(run):
            self._fit(run)
            _train(run)
            with averaged(run.model):
                self._conclude(run, workdir)

    def _prepare(self, config: TrainConfig) -> Run:
        """Returns the run at its first step, its features there."""
        backbone = named(config.backbone)
        run = prepare(config, None, backbone, self._strategy)
        self._strategy = run.model.distribute_strategy
        settle(run)
        self._fill(run)
        if config.head in _OF_MAPS:
            return run
        short = dataclasses.replace(config, cache_maps=False, cache_dir=str(self._folder))
        manifest = read_manifest(config.data_dir)
        found = FeatureSource.from_config(short, run.model, manifest)
        assert run.features
        if self._is_new(found):
            vectors.fill(found, run.features, run.splits)
        run = dataclasses.replace(run, features=found)
        run.model.settle(run.model.sums, trained=found.rest, uses_xla=config.jit_compile)
        return run

    def _fill(self, run: Run) -> None:
        assert run.features
        if self._is_new(run.features):
            fill_features(run)

    def _is_new(self, features: FeatureSource) -> bool:
        """Whether features were not seen to be there yet, as from now on they are."""
        folder = str(features.store.folder)
        is_new = folder not in self._is_there
        self._is_there.add(folder)
        return is_new

    def _fit(self, run: Run) -> None:
        """Fits the head, unless that of an earlier trial was fitted to the same."""
        if run.config.head_init != "logistic":
            fit_head(run)
            return
        path = self._folder / f"{_start_of(run)}.npz"
        names = [layer.name for layer in run.model.layers if layer.name in _FITTED]
        weights = {w.path: w for name in names for w in run.model.get_layer(name).weights}
        if not path.exists():
            fit_head(run)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_writer(path) as file:
                found = {path: keras.ops.convert_to_numpy(w) for path, w in weights.items()}
                np.savez(file, allow_pickle=False, **found)
            return
        print("Head: fitted as an earlier trial's.", flush=True)
        with np.load(path) as found, run.model.distribute_strategy.scope():
            for name, weight in weights.items():
                weight.assign(found[name])

    def _conclude(self, run: Run, workdir: Workdir) -> None:
        split = run.val_split
        assert split
        probabilities = predict_validation(run, split)
        evaluation.write_predictions(workdir.predictions, probabilities, split)
        write_json(workdir.metrics, evaluation.figures_of(probabilities, split))  # All is there.


def _start_of(run: Run) -> str:
    """Hex digits of a digest of all that decides what a head is fitted to."""
    assert run.features
    recipe = {k: v for k, v in run.identity["recipe"].items() if k not in _NO_MATTER}
    content = json.dumps([recipe, run.identity["data"], run.features.store.folder.name])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _train(run: Run) -> None:
    """Trains all epochs, which nothing stops and no photograph of the fold decides about."""
    if not run.config.epochs:
        return
    try:
        run.model.fit(
            training_batches(run),
            epochs=run.config.epochs,
            steps_per_epoch=run.steps_per_epoch,
            callbacks=[divergence.Divergence()],
            verbose=0,
            shuffle=False,  # The stream is.
        )
    except divergence.DivergedError:
        raise RuntimeError(
            "The loss or a gradient of a step is not a number. Received: "
            f"learning_rate={run.config.learning_rate:g}, optimizer={run.config.optimizer}."
        ) from None
