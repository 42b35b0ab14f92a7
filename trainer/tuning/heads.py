"""Trains one head after another on features, in one process: a fold's figures in seconds."""

import dataclasses
from pathlib import Path

import keras
import tensorflow as tf

from tfrecords.manifest import read_manifest
from trainer import divergence, microbatch
from trainer.config import TrainConfig
from trainer.features import vectors
from trainer.features.source import FeatureSource
from trainer.head_start import fit_head
from trainer.model.backbone import named
from trainer.model.moving_average import averaged
from trainer.outcome import predict_validation
from trainer.results import evaluation
from trainer.run import Run
from trainer.train import fill_features, prepare, settle, training_batches
from trainer.tuning.remembered import RememberedFits
from trainer.workdir.files import Workdir, write_json

# The heads that make no short vector of a feature map before their first weight.
_OF_MAPS = ("flatten", "places")


class Heads:
    """What stays from one head to the next.

    Args:
        folder: Where what the heads make of the feature maps is kept, and what was fitted to it.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._remembered = RememberedFits(Path(folder))
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
            fit_head(run, self._remembered)
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
        short = dataclasses.replace(config, cache_maps=False, cache_dir=self._folder)
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

    def _conclude(self, run: Run, workdir: Workdir) -> None:
        split = run.val_split
        assert split
        probabilities = predict_validation(run, split)
        evaluation.write_predictions(workdir.predictions, probabilities, split)
        write_json(workdir.metrics, evaluation.figures_of(probabilities, split))  # All is there.


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
