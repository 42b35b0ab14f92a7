"""Trains one head after another on features, in one process: a fold's figures in seconds."""

import dataclasses
from pathlib import Path
from typing import Any

import keras

from tfrecords.manifest import Manifest, read_manifest
from trainer import divergence, microbatch
from trainer.config import TrainConfig
from trainer.features import vectors
from trainer.features.source import FeatureSource
from trainer.features.store import FeatureStore
from trainer.head_start import fit_head
from trainer.model.backbone import named
from trainer.model.division import cut
from trainer.model.head import Head
from trainer.model.learning_rate import create_schedule
from trainer.model.moving_average import averaged
from trainer.numerics.reproducible_model import ReproducibleModel
from trainer.outcome import predict_validation
from trainer.results import evaluation
from trainer.run import Run, steps_per_epoch
from trainer.train import (
    compile_model,
    fill_features,
    find_splits,
    prepare,
    settle,
    training_batches,
)
from trainer.tuning.remembered import RememberedFits
from trainer.tuning.space import OF_FEATURES
from trainer.workdir.files import Workdir, write_json
from trainer.workdir.initial_model import identify
from trainer.workdir.train_state import TrainState

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
        self._runs: dict[tuple[Any, ...], Run] = {}  # The first one on each kind of features.

    def measure(self, config: TrainConfig) -> None:
        """Writes the figures that `train.train` would, and the predictions; no model, no report.

        Args:
            config: A fold's, under which the head alone trains.

        Raises:
            ValueError: as `train.prepare`.
            RuntimeError: if a step gave no number.
        """
        keras.backend.clear_session()
        run = self._prepare(config)
        run.workdir.root.mkdir(parents=True, exist_ok=True)
        write_json(run.workdir.config, run.identity)
        with microbatch.naming_one_that_fits(run):
            fit_head(run, self._remembered)
            _train(run)
            with averaged(run.model):
                _conclude(run)

    def _prepare(self, config: TrainConfig) -> Run:
        """Returns a run at its first step, whose model is the head and whose features are there."""
        manifest, workdir = read_manifest(config.data_dir), Workdir(config.workdir)
        identity = identify(config, manifest)
        workdir.check(identity)
        first = self._first_run(config)
        assert first.features
        keras.utils.set_random_seed(config.seed)
        train_split, val_split, counts = find_splits(config, manifest)
        steps = steps_per_epoch(config, train_split)
        schedule = create_schedule(config, steps)
        with first.model.distribute_strategy.scope():
            model = _head(config, len(counts), first.features)
            compile_model(model, config, schedule, counts, steps)
        features = self._features(config, model, first.features, manifest)
        run = dataclasses.replace(
            first,
            config=config,
            identity=identity,
            workdir=workdir,
            train_split=train_split,
            val_split=val_split,
            model=model,
            schedule=schedule,
            state=TrainState(),
            features=features,
        )
        settle(run)
        if config.head not in _OF_MAPS:
            vectors.fill(features, first.features, run.splits)
        return run

    def _first_run(self, config: TrainConfig) -> Run:
        """Returns a run of the whole network, whose last feature maps are kept; built once."""
        kind = (config.data_dir, *(getattr(config, name) for name in OF_FEATURES))
        if kind not in self._runs:
            others = iter(self._runs.values())  # A process can have one strategy.
            strategy = next((run.model.distribute_strategy for run in others), None)
            run = prepare(config, None, named(config.backbone), strategy)
            settle(run)
            fill_features(run)
            self._runs[kind] = run
        return self._runs[kind]

    def _features(
        self, config: TrainConfig, model: keras.Model, maps: FeatureSource, manifest: Manifest
    ) -> FeatureSource:
        """Returns what a head trains from: maps, or what it makes of them before it has a weight.

        Args:
            model: The head.
        """
        if config.head in _OF_MAPS:
            frozen = keras.Model(model.input, model.input)
            rest = keras.Model(model.input, model.output)  # A model cannot hold itself.
            return dataclasses.replace(maps, frozen=frozen, rest=rest)
        frozen, rest = cut(model)
        folder = f"{self._folder}/{maps.store.folder.name}"  # Its own name does not tell of which.
        of_head = dataclasses.replace(config, cache_maps=False, cache_dir=folder)
        return FeatureSource(FeatureStore(of_head, frozen, manifest), maps.view, frozen, rest)


def _head(config: TrainConfig, num_classes: int, maps: FeatureSource) -> keras.Model:
    """Returns the head of `build_model`: feature maps in, probabilities out."""
    inputs = keras.Input(maps.store.shape, dtype=maps.frozen.output.dtype, name="maps")
    head = Head.from_config(config)
    probabilities = head.probabilities(inputs, num_classes, config.precision, for_training=True)
    model = ReproducibleModel(inputs, probabilities, name="head")
    model.backbone_layers, model.freeze_layers = (), 0
    return model


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


def _conclude(run: Run) -> None:
    split = run.val_split
    assert split
    probabilities = predict_validation(run, split)
    evaluation.write_predictions(run.workdir.predictions, probabilities, split)
    write_json(run.workdir.metrics, evaluation.figures_of(probabilities, split))  # All is there.
