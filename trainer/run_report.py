"""The report of a run, put together: what it is, how it went, what it is worth."""

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from trainer.data.examples import labels_of
from trainer.inference.explanation import explain_squares
from trainer.model import freezing
from trainer.model.learning_rate import scaled_rate
from trainer.results import evaluation, report
from trainer.results.figures import figures_of_nothing
from trainer.results.predictions import Prediction
from trainer.results.selection import select
from trainer.run import Run
from trainer.workdir import provenance

_PHOTOGRAPHS = 24


def write_report(
    run: Run,
    figures: Mapping[str, Any] | None = None,
    probabilities: np.ndarray | None = None,
    model: keras.Model | None = None,
) -> None:
    """Writes the page of a run that is finished, or of one that is under way.

    Args:
        figures: The content of metrics.json; None: the run is under way.
        probabilities: On the validation split, float32 [num_examples, num_classes].
        model: As it is saved: what it looked at is shown.
    """
    photographs = report.Photographs()
    if probabilities is not None and model is not None:
        photographs = _photographs(run, probabilities, model)
    report.write_report(
        run.workdir.report,
        title=_title(run),
        facts=_facts(run),
        history=run.state.history,
        metrics=figures or figures_of_nothing(),
        photographs=photographs,
        classes=run.train_split.classes,
        phases=run.phases.seconds,
        details=_details(run),
        is_running=figures is None,
    )


def _photographs(run: Run, probabilities: np.ndarray, model: keras.Model) -> report.Photographs:
    """What is shown of the validation split."""
    assert run.val_split
    selection = select(labels_of(run.val_split), probabilities, _PHOTOGRAPHS)
    predictions = evaluation.read_predictions(
        probabilities, run.val_split, selection.numbers, run.photographs.view
    )
    if run.config.fold:  # Its photographs are shown together with those of the others.
        return report.Photographs.of(selection, predictions)
    with run.phases.measured("heat maps"):
        heated = _heat(model, [predictions[number] for number in selection.mistakes])
    predictions |= dict(zip(selection.mistakes, heated, strict=True))
    return report.Photographs.of(selection, predictions)


def _heat(model: keras.Model, mistakes: Sequence[Prediction]) -> list[Prediction]:
    """Shows of each mistake where the model saw the class that it took it for."""
    if not mistakes:
        return []
    squares = np.stack([mistake.image for mistake in mistakes])
    labels = np.array([mistake.predicted for mistake in mistakes])
    try:
        heats = explain_squares(model, squares, labels)
    except (ValueError, tf.errors.OpError) as error:  # A trained model is worth more than these.
        logging.warning("The report is without heat maps: %s", error)
        return list(mistakes)
    return [
        dataclasses.replace(mistake, heat=heat)
        for mistake, heat in zip(mistakes, heats, strict=True)
    ]


def _title(run: Run) -> report.Title:
    now = datetime.datetime.now(datetime.UTC)
    return report.Title(
        run=Path(run.config.workdir).resolve().name,
        dataset=f"{Path(run.config.data_dir).resolve().name} "
        f"({run.identity['data']['digest'][:8]})",
        date=f"{now:%Y-%m-%d %H:%M} UTC",
        command=provenance.command_line(run.config),
    )


def _facts(run: Run) -> dict[str, str]:
    config = run.config
    trained = sum(math.prod(weight.shape) for weight in run.model.trainable_weights)
    return {
        "Recipe": _recipe(run),
        "Starting weights": config.init_from or config.weights,
        "Frozen": _frozen(run),
        "Parameters": f"{run.model.count_params():,}, of which {trained:,} train",
        **({"Fold": f"{config.fold} of all splits, held out"} if config.fold else {}),
        "Trained on": f"{run.train_split.num_examples:,} photographs",
        "Evaluated on": f"{run.val_split.num_examples:,} photographs of "
        f"{'the fold' if config.fold else f'the split {run.val_split.name}'}"
        if run.val_split
        else "nothing: the dataset has no split val",
        **({"Speed": run.timing.verdict()} if config.epochs else {}),
    }


def _recipe(run: Run) -> str:
    config = run.config
    start = "logistic regression of frozen features" if config.head_init == "logistic" else ""
    steps = (
        f"{config.optimizer}, learning rate {scaled_rate(config):g}, batch {config.batch_size}, "
        f"{config.epochs} epochs"
    )
    named = f"--recipe={config.recipe}" if config.recipe else ""
    parts = [named, start, steps if config.epochs else "", f"seed {config.seed}"]
    return ", ".join(part for part in parts if part)


def _frozen(run: Run) -> str:
    config = run.config
    frozen = freezing.describe(run.backbone, config.freeze_layers, config.freeze_until)
    return f"{frozen}, unfrozen from {config.unfreeze} on" if config.unfreeze else frozen


def _details(run: Run) -> dict[str, dict[str, Any]]:
    """What it takes to make the same run again."""
    strategy = run.model.distribute_strategy
    start = provenance.describe(run.config, strategy, run.state.step)
    devices = start["devices"]
    return {
        "Settings": run.identity["recipe"],
        "Made with": {
            **start["versions"],
            "commit": start["git_commit"],
            "devices": ", ".join(devices["gpus"]) or f"{len(devices['replicas'])} on the CPU",
            "platform": devices["platform"],
        },
        "Data": {
            "digest": run.identity["data"]["digest"],
            "folder": run.config.data_dir,
        },
    }
