"""What a finished run leaves: its figures, its model and its report."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from cli.progress import Progress
from trainer.data.examples import labels_of
from trainer.data.split import Split
from trainer.loop.checkpointing import Stopping
from trainer.loop.counting import Counting
from trainer.loop.signals import StopSignals
from trainer.model.classifier import for_inference
from trainer.model.moving_average import averaged
from trainer.results import confusion, evaluation
from trainer.results.figures import figures_of_nothing
from trainer.results.predictions import in_words
from trainer.results.selection import select
from trainer.run import Run
from trainer.run_report import write_report
from trainer.tracking import tensorboard_summaries
from trainer.tracking.trackers import Pictures
from trainer.workdir import history
from trainer.workdir.files import write_json

_PHOTOGRAPHS_TRACKED = 9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """What was found of a model on its validation split.

    Attributes:
        figures: The content of metrics.json.
        probabilities: What it says of each example, calibrated, float32 [num_examples,
            num_classes]; None: there is no such split.
        temperature: What they were calibrated by; None: they are as they came.
    """

    figures: dict[str, Any]
    probabilities: np.ndarray | None = None
    temperature: float | None = None


def predict_validation(
    run: Run, split: Split, around: Sequence[keras.callbacks.Callback] = ()
) -> np.ndarray:
    """What the model says of the validation split, in the order of its shards."""
    count, batch_size = split.num_examples, run.config.batch_size
    views = len(run.validation_batches)
    with (
        run.phases.measured("validation"),
        Progress(views * count, "photographs", title="validation") as progress,
    ):
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
    judgement = judge(run, run.val_split, stop) if run.val_split else Judgement(
        figures=figures_of_nothing()
    )  # fmt: skip
    if run.workers.is_chief:
        write(run, judgement)
    run.workers.wait()
    return judgement.figures


def judge(run: Run, split: Split, stop: StopSignals) -> Judgement:
    """Returns what the model is worth on a split, its probabilities calibrated by that split.

    A fold's are left as they are: it is held out to judge the model, and must not mend it.
    """
    print(f"Evaluating on {split.name} ...", flush=True)
    # What is raised while replicas trace a model leaves their threads stuck.
    with stop.deferred():
        stopping = Stopping(run.state, stop=stop, workers=run.workers)
        said = predict_validation(run, split, [stopping])
    if run.config.calibration == "none" or run.config.fold:
        figures = evaluation.figures_of(said, split)
        return Judgement(figures=figures, probabilities=said)
    temperature, calibrated, figures = evaluation.calibrate(said, split)
    print(evaluation.calibration_in_words(figures), flush=True)
    return Judgement(figures=figures, probabilities=calibrated, temperature=temperature)


def write(run: Run, judgement: Judgement) -> None:
    """Writes all that a finished run leaves."""
    workdir = run.workdir
    print("Writing the model and the report ...", flush=True)
    if run.config.fold and run.val_split and judgement.probabilities is not None:
        evaluation.write_predictions(workdir.predictions, judgement.probabilities, run.val_split)
    with run.phases.measured("saving the model"):
        model = for_inference(run.model, run.config, run.backbone, judgement.temperature)
        incomplete = workdir.root / "model.incomplete.keras"
        model.save(str(incomplete))
        incomplete.replace(workdir.model)
    history.write(workdir.history, run.state.history)
    write_report(run, judgement.figures, judgement.probabilities, model)
    # Last: where it stands, the run is finished.
    write_json(workdir.metrics, judgement.figures)
    track(run, judgement)


def track(run: Run, judgement: Judgement) -> None:
    """Tells TensorBoard and the other trackers what came out."""
    workdir, figures = run.workdir, judgement.figures
    # A fold is judged together with the others.
    pictures = {} if run.config.fold else _pictures(run, judgement)
    epochs = len(run.state.history)
    tensorboard_summaries.write(workdir.tensorboard, run.settings, figures, pictures, epochs)
    files = [workdir.config, workdir.history, workdir.metrics, workdir.report]
    run.trackers.finish(figures, files, pictures)


def _pictures(run: Run, judgement: Judgement) -> Pictures:
    """The confusion matrix, and some photographs with what was said of them, mistakes first."""
    split, probabilities = run.val_split, judgement.probabilities
    if split is None or probabilities is None:
        return {}
    selection = select(labels_of(split), probabilities, _PHOTOGRAPHS_TRACKED)
    places = [*selection.mistakes, *selection.unsure, *selection.others]
    shown = evaluation.read_predictions(probabilities, split, places, run.photographs.view)
    group = f"predictions after epoch {len(run.state.history)}"
    return {
        "confusion matrix": confusion.picture(judgement.figures["confusion_matrix"], split.classes),
        **{
            f"{group}/{number}: {in_words(shown[place], split.classes)}": shown[place].image
            for number, place in enumerate(places, start=1)
        },
    }
