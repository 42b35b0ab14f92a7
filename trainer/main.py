"""Trains the classifier: `python -m trainer.main --data_dir=... --workdir=...`."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from cli import command, flags
from tfrecords.manifest import Manifest, read_manifest
from trainer import keras_settings
from trainer.checks import (
    advice_on_stored_size,
    check_no_other,
    check_run,
    without_boxes,
)
from trainer.config import RECIPES, TrainConfig
from trainer.distribute.cluster import Cluster, find_cluster, without_proxies
from trainer.loop import child, preemption
from trainer.loop.signals import StopSignals
from trainer.model.backbone import Backbone, named
from trainer.results.figures import in_words
from trainer.workdir import history, mirror
from trainer.workdir.files import Workdir, read_json
from trainer.workdir.initial_model import identify
from trainer.workdir.mirror import shown

flags.define(TrainConfig)


def main(arguments: list[str], backbone: Backbone | None = None) -> None:
    """Trains what the flags ask for and says how good it is."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(TrainConfig)
    backbone = backbone or named(config.backbone)
    backbone.check_count(config.freeze_layers)
    with StopSignals() as stop:  # Before TensorFlow's seconds of import, which --help is spared.
        preemption.watch_for_notice()
        child.watch_for_orphanhood()
        cluster = find_cluster(os.environ)
        if cluster:
            os.environ.update(without_proxies(cluster, os.environ))  # TensorFlow reads them once.
        if cluster and not cluster.is_chief:
            # The chief speaks for all.
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
        with copied(config, cluster):
            check_no_other(config.workdir)
            config = without_boxes(config)
            figures = None if config.dry_run or config.lr_find else finished_figures(config)
            if figures is None:
                announce(config, check_run(config, backbone))
                figures = start(config, stop, cluster, backbone)
            report = shown(Workdir(config.workdir).report)
    if figures is not None:
        print(in_words(figures))
        print(f"Report: {report}")


def copied(
    config: TrainConfig, cluster: Cluster | None
) -> contextlib.AbstractContextManager[object]:
    """What a run in a bucket works in: a copy, which one process keeps the bucket equal to."""
    kind = mirror.TRIED if config.dry_run else "runs"
    is_chief = cluster is None or cluster.is_chief
    if cluster and not is_chief:  # Several workers may share this machine.
        kind = f"{kind}-{cluster.rank}"
    return mirror.opened(config.workdir, kind, writes=is_chief and not config.dry_run)


def announce(config: TrainConfig, manifest: Manifest) -> None:
    """Prints what is trained on, and that TensorFlow is being loaded, which takes seconds."""
    splits = ", ".join(f"{manifest.num_examples(name):,} of {name}" for name in manifest.counts)
    print(f"Dataset {config.data_dir}: {len(manifest.classes)} classes; photographs: {splits}.")
    if config.fold:
        print(f"Fold {config.fold} of all of them is held out, and validates the epochs.")
    elif "val" not in manifest.counts:
        print("No split val: nothing validates the epochs, and the run ends without an accuracy.")
    if advice := advice_on_stored_size(config, manifest):
        print(advice)
    print("Loading TensorFlow ...", flush=True)


def start(
    config: TrainConfig, stop: StopSignals, cluster: Cluster | None, backbone: Backbone
) -> dict[str, Any] | None:
    """Trains, and returns the figures of metrics.json; None after a dry run or a range test."""
    if config.dry_run:
        keras_settings.import_keras()
        from trainer.preflight import preflight

        preflight(config, cluster, backbone)
        return None
    is_chief = cluster is None or cluster.is_chief
    with Workdir(config.workdir).locked() if is_chief else contextlib.nullcontext():
        keras_settings.import_keras()
        if config.lr_find:
            from trainer.lr_find import find

            find(config, stop, cluster, backbone)
            return None
        from trainer.train import train

        return train(config, stop, cluster, backbone)


def finished_figures(config: TrainConfig) -> dict[str, Any] | None:
    """Returns metrics.json if the workdir holds this very run, with no epoch left to train."""
    workdir = Workdir(config.workdir)
    if not workdir.is_finished():
        return None
    workdir.check(identify(config, read_manifest(config.data_dir)))
    epochs = workdir.epochs()
    if epochs != config.epochs:  # It has grown since.
        rows = history.read(workdir.history)
        if not rows or not history.stops_early(rows, config.early_stopping_patience):
            return None  # Also where the file is damaged: the checkpoint has the rows.
        if len(rows) == epochs:
            return None
        print(f"More epochs change nothing: the run stopped early, after {len(rows)} of {epochs}.")
    print(f"The run in {config.workdir} is finished: there is nothing left to train.")
    return read_json(workdir.metrics)


def run(backbone: Backbone | None = None) -> None:
    """The console script.

    Args:
        backbone: Takes the place of the one that --backbone names.
    """

    def train_one(arguments: list[str]) -> None:
        main(arguments, backbone)

    command.run(train_one, recipes_folder=RECIPES)


if __name__ == "__main__":
    run()
