"""What a finished run leaves: its figures, its model and its report."""

import datetime
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from etils import epath

from cli.progress import Progress
from trainer.data.split import Split
from trainer.loop.checkpointing import Stopping
from trainer.loop.counting import Counting
from trainer.loop.signals import StopSignals
from trainer.model import freezing
from trainer.model.classifier import for_inference
from trainer.model.learning_rate import scaled_rate
from trainer.model.moving_average import averaged
from trainer.results import confusion, evaluation, report
from trainer.results.figures import figures_of_nothing
from trainer.results.predictions import Prediction, in_words
from trainer.run import Run
from trainer.tracking import tensorboard_summaries
from trainer.workdir import history, provenance
from trainer.workdir.files import write_json

_PHOTOGRAPHS_IN_REPORT = 24
_PHOTOGRAPHS_TRACKED = 9


def predict_validation(
    run: Run, split: Split, around: Sequence[keras.callbacks.Callback] = ()
) -> np.ndarray:
    """What the model says of the validation split, in the order of its shards."""
    count, batch_size = split.num_examples, run.config.batch_size
    views = len(run.validation_batches)
    with Progress(views * count, "photographs", title="validation") as progress:
        return evaluation.predict_batches(
            run.model,
            run.validation_batches,
            count,
            batch_size,
            callbacks=[*around, Counting(progress, count, batch_size)],
        )


def finish(run: Run, stop: StopSignals) -> dict[str, Any]:
    """Ends with the best epoch's weights or the last's, or their average, and returns figures."""
    if run.config.early_stopping_patience and run.state.best:
        run.checkpoints.restore_best(run.model, run.state)
    with averaged(run.model):
        return conclude(run, stop)


def conclude(run: Run, stop: StopSignals) -> dict[str, Any]:
    """Evaluates the model as it is, and writes it, its figures and the report."""
    figures, shown = figures_of_nothing(), []
    if split := run.val_split:
        print(f"Evaluating on {split.name} ...", flush=True)
        # What is raised while replicas trace a model leaves their threads stuck.
        with stop.deferred():
            stopping = Stopping(run.state, stop=stop, workers=run.workers)
            probabilities = predict_validation(run, split, [stopping])
        figures = evaluation.figures_of(probabilities, split)
        if run.workers.is_chief:
            shown = evaluation.choose_predictions(
                probabilities, split, _PHOTOGRAPHS_IN_REPORT, run.photographs.view
            )
            if run.config.fold:
                evaluation.write_predictions(run.workdir.predictions, probabilities, split)
    if run.workers.is_chief:
        write(run, figures, shown)
    run.workers.wait()
    return figures


def write(run: Run, figures: dict[str, Any], shown: Sequence[Prediction]) -> None:
    """Writes all that a finished run leaves.

    Args:
        figures: The content of metrics.json.
        shown: The photographs in the report.
    """
    workdir = run.workdir
    print("Writing the model and the report ...", flush=True)
    incomplete = workdir.root / "model.incomplete.keras"
    for_inference(run.model, run.config, run.backbone).save(str(incomplete))
    incomplete.replace(workdir.model)
    write_json(workdir.metrics, figures)
    history.write(workdir.history, run.state.history)
    report.write_report(
        workdir.report,  # Last: where it stands, the run is finished.
        title=_title(run),
        title_facts=_facts(run),
        history=run.state.history,
        metrics=figures,
        predictions=shown,
        classes=run.train_split.classes,
    )
    track(run, figures, shown)


def track(run: Run, figures: dict[str, Any], shown: Sequence[Prediction]) -> None:
    """Tells TensorBoard and the other trackers what came out."""
    workdir, classes = run.workdir, run.train_split.classes
    pictures = {}
    if shown and not run.config.fold:  # A fold is judged together with the others.
        pictures["confusion matrix"] = confusion.picture(figures["confusion_matrix"], classes)
        group = f"predictions after epoch {len(run.state.history)}"
        for number, each in enumerate(shown[:_PHOTOGRAPHS_TRACKED], start=1):
            pictures[f"{group}/{number}: {in_words(each, classes)}"] = each.image
    tensorboard_summaries.write(
        workdir.tensorboard, run.settings, figures, pictures, len(run.state.history)
    )
    files = [workdir.config, workdir.history, workdir.metrics, workdir.report]
    run.trackers.finish(figures, files, pictures)


def _title(run: Run) -> report.Title:
    now = datetime.datetime.now(datetime.UTC)
    return report.Title(
        run=epath.Path(run.config.workdir).resolve().name,
        dataset=f"{epath.Path(run.config.data_dir).resolve().name} "
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
