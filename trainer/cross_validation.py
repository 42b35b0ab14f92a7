"""A cross-validation, from the folds to the figures of all together: the story on one page."""

import contextlib
import dataclasses
import datetime
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cli.command import PREEMPTED, PreemptedError
from tfrecords.manifest import Manifest, read_manifest
from tfrecords.shard_cache import ShardCache
from trainer.checks import check_no_other, check_run
from trainer.config import CrossvalConfig, TrainConfig
from trainer.data.dataset import Examples, read_examples, read_jpegs, whole_dataset
from trainer.data.folds import deal_examples
from trainer.data.split import Split
from trainer.distribute.cluster import find_cluster
from trainer.loop import child
from trainer.loop.signals import StopSignals
from trainer.model.backbone import named
from trainer.results import (
    confusion,
    crossval_report,
    label_issues,
    label_issues_file,
    metrics,
    pooled,
    predictions_file,
)
from trainer.results.predictions_file import Rows
from trainer.results.report import Photographs, Title
from trainer.results.selection import select
from trainer.tracking.trackers import Trackers
from trainer.workdir import mirror
from trainer.workdir.crossval_files import CrossvalFiles, describe
from trainer.workdir.files import Workdir, read_json, write_json
from trainer.workdir.initial_model import dataset_of, identify

_PHOTOGRAPHS_IN_REPORT = 24
_SET_FOR_EACH = ("workdir", "cache_dir", "fold", "fold_seed", "trackers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crossval:
    """A cross-validation whose dataset is dealt out.

    Attributes:
        config: What it was asked for.
        recipe: What each fold's run is asked for.
        given: The flags as they were given, each as `--name=value`.
        whole: All splits of the dataset as one.
        dealt: For each repeat the fold of each example, int64 [num_examples], counted from 0.
        first_seed: The first repeat's folds are dealt by this one, the next by the next.
    """

    config: CrossvalConfig
    recipe: TrainConfig
    given: Sequence[str]
    files: CrossvalFiles
    manifest: Manifest
    whole: Split
    examples: Examples
    dealt: list[np.ndarray]
    first_seed: int = 0

    @property
    def classes(self) -> list[str]:
        """Names, in the order of the labels."""
        return self.manifest.classes

    @property
    def labels(self) -> np.ndarray:
        """Of each example, int64 [num_examples]."""
        return self.examples.index.labels

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it this one and no other."""
        run = identify(self.recipe, self.manifest)
        return describe(run, self.config.folds, [*self._known_folds()])

    def _known_folds(self) -> Iterator[tuple[str, int]]:
        """What each example is known by, and its fold in the first repeat."""
        examples = self.examples
        rows = zip(examples.ids, examples.files, self.labels, self.dealt[0], strict=True)
        for id, file, label, fold in rows:
            yield f"{id}/{file}/{self.classes[label]}", int(fold)

    def runs(self) -> Iterator[tuple[int, int]]:
        """Yields repeat and fold of each run, counted from 1."""
        for repeat in range(self.config.repeats):
            for fold in range(self.config.folds):
                yield repeat + 1, fold + 1


def cross_validate(
    config: CrossvalConfig, recipe: TrainConfig, given: Sequence[str], stop: StopSignals
) -> str:
    """Writes the figures of all folds together, and returns them in words.

    Each fold is a run of its own in a process of its own; one that is finished is not trained
    again.

    Args:
        given: The flags that were given, each as `--name=value`.

    Raises:
        ValueError: if the dataset cannot be dealt into the folds, if the workdir holds something
            else, or if the other cross-validation is of other photographs or folds.
        PreemptedError: if a signal came; the same command goes on.
        RuntimeError: if a fold failed.
    """
    with mirror.opened(recipe.workdir):
        check_no_other(recipe.workdir, CrossvalFiles)
        crossval = prepare(config, recipe, given)
        files = crossval.files
        other = read_other(crossval) if config.against else None
        with files.locked():
            files.claim(crossval.identity)
            known: set[str] = set()  # The model's summary, say, is the same in each fold.
            for repeat, fold in crossval.runs():
                train_fold(crossval, repeat, fold, stop, known)
                files.put_up()
            figures = summarise(crossval, other)
            track(crossval, figures)
    words = [pooled.in_words(figures)]
    if figures["against"]:
        words.append(pooled.difference_in_words(figures["against"]))
    return "\n".join([*words, f"Report: {mirror.shown(files.report)}"])


def prepare(
    config: CrossvalConfig, recipe: TrainConfig, given: Sequence[str], first_seed: int = 0
) -> Crossval:
    """Deals the dataset out, once nothing stands in the way of the first fold; writes nothing."""
    if find_cluster(os.environ):
        raise ValueError(
            "A cross-validation trains fold after fold on one machine. Received: an environment of "
            "several workers. Start one process, or train each fold with trainer.main --fold=K/N."
        )
    manifest = read_manifest(recipe.data_dir)
    files = CrossvalFiles(recipe.workdir)
    files.refuse_run()
    _refuse_peeking(recipe, manifest)
    backbone = named(recipe.backbone)
    backbone.check_count(recipe.freeze_layers)
    check_run(dataclasses.replace(recipe, fold=f"1/{config.folds}"), backbone)
    cache = ShardCache(recipe.data_cache, recipe.data_cache_gib)
    whole = whole_dataset(recipe.data_dir, manifest, cache)
    examples = read_examples(whole)
    dealt = [
        deal_examples(examples, manifest.classes, config.folds, seed)
        for seed in range(first_seed, first_seed + config.repeats)
    ]
    times = f", {config.repeats} times" if config.repeats > 1 else ""
    print(
        f"Dataset {recipe.data_dir}: {whole.num_examples:,} photographs of "
        f"{len(manifest.classes)} classes in {config.folds} folds{times}.",
        flush=True,
    )
    return Crossval(
        config=config,
        recipe=recipe,
        given=given,
        files=files,
        manifest=manifest,
        whole=whole,
        examples=examples,
        dealt=dealt,
        first_seed=first_seed,
    )


def _refuse_peeking(recipe: TrainConfig, manifest: Manifest) -> None:
    """Refuses what would learn from the photographs that it is then judged on.

    Raises:
        ValueError: if so.
    """
    if recipe.early_stopping_patience:
        raise ValueError(
            "Early stopping would choose the epoch by the very photographs that a fold is judged "
            f"on. Received: early_stopping_patience={recipe.early_stopping_patience}. Leave it "
            "out, and set --epochs."
        )
    if recipe.init_from and dataset_of(recipe.init_from) == manifest.digest:
        raise ValueError(
            "The model to start from has learned from the photographs that the folds are judged "
            f"on. Received: init_from={recipe.init_from}, a run on this dataset. Leave it out, or "
            "name a run on another one."
        )


def train_fold(
    crossval: Crossval, repeat: int, fold: int, stop: StopSignals, known: set[str]
) -> None:
    """Trains a fold's run, or goes on with it, unless it is finished.

    Args:
        known: Lines that the folds before have shown.

    Raises:
        PreemptedError: if it was stopped.
        RuntimeError: if it failed.
    """
    run = of_fold(crossval, repeat, fold)
    title = f"[{repeat}: {run.fold}]" if crossval.config.repeats > 1 else f"[{run.fold}]"
    if is_finished(crossval, repeat, fold):
        print(f"{title} Finished before.", flush=True)
        return
    crossval.files.remove_metrics()  # They stand for folds that are all finished.
    show = child.titled(title, known)
    with kept(crossval.files.fold(repeat, fold), stop, show):
        code = child.run(command_line(crossval, run), stop, show)
        if code == PREEMPTED:
            raise PreemptedError(
                f"Fold {run.fold} was stopped. Start the same command again to go on."
            )
    if code:
        raise RuntimeError(
            f"A fold failed, as the lines above say. Received: exit code {code} of fold "
            f"{run.fold} in {mirror.shown(Path(run.workdir))}. Finished folds are kept: start the "
            "same command again."
        )


@contextlib.contextmanager
def kept(fold: Workdir, stop: StopSignals, show: Callable[[str], object]) -> Iterator[None]:
    """Puts the newest checkpoint of a fold that is stopped into the bucket, if it is in one.

    Args:
        show: Takes the line that says so.

    Raises:
        BucketError: if it cannot be written.
    """
    try:
        yield
    except PreemptedError:
        with stop.saving:  # The end of the grace waits for it.
            path = mirror.put_newest(fold.checkpoints, lambda: stop.requested)
        if path:
            show(f"The checkpoint is in the bucket: {mirror.shown(path)}.\n")
        raise


def of_fold(crossval: Crossval, repeat: int, fold: int) -> TrainConfig:
    """Returns the config of a fold's run; both numbers are counted from 1."""
    recipe, files = crossval.recipe, crossval.files
    return dataclasses.replace(
        recipe,
        workdir=str(files.fold(repeat, fold).root),
        cache_dir=recipe.cache_dir or str(files.features),
        fold=f"{fold}/{crossval.config.folds}",
        fold_seed=crossval.first_seed + repeat - 1,
        trackers=None,  # They are told of all folds together.
    )


def command_line(crossval: Crossval, run: TrainConfig) -> list[str]:
    """Returns the command of a fold's run: the flags that were given, and the fold's own."""
    values = {name: getattr(run, name) for name in _SET_FOR_EACH}
    its_own = [field.name for field in dataclasses.fields(CrossvalConfig)]
    return child.training(crossval.given, values, its_own)


def is_finished(crossval: Crossval, repeat: int, fold: int) -> bool:
    """Whether a fold's run is there and has no epoch left to train.

    Raises:
        ValueError: if the folder holds another run.
    """
    workdir, run = crossval.files.fold(repeat, fold), of_fold(crossval, repeat, fold)
    if not (workdir.is_finished() and workdir.predictions.exists()):
        return False
    workdir.check(identify(run, crossval.manifest))
    return workdir.epochs() == run.epochs


def summarise(crossval: Crossval, other: Rows | None) -> dict[str, Any]:
    """Returns the figures of all folds together, once their files and the page are written.

    Args:
        other: The predictions to compare with.
    """
    print("Putting the folds together ...", flush=True)
    config, files = crossval.config, crossval.files
    examples, labels, classes = crossval.examples, crossval.labels, crossval.classes
    said = read_folds(crossval)
    is_calibrated = crossval.recipe.calibration == "temperature"
    calibrated = pooled.calibrate(labels, said, crossval.dealt) if is_calibrated else said
    rows = Rows(examples.ids.tolist(), examples.files, labels, calibrated.mean(axis=0))
    figures = {
        "split": "all",
        **metrics.compute_metrics(labels, rows.probabilities, classes, examples.photographs),
        # The temperature is another in each fold.
        **(
            {"uncalibrated": metrics.calibration_figures(labels, said.mean(axis=0))}
            if is_calibrated
            else {}
        ),
        "num_folds": config.folds,
        "num_repeats": config.repeats,
        "repeats": [pooled.short_figures(labels, each, classes) for each in calibrated],
        "folds": fold_figures(crossval, calibrated),
        "against": None,
    }
    if other:
        compared = pooled.compare_rows(rows, other, examples.photographs)
        figures["against"] = {"workdir": config.against, **compared}
    predictions_file.write(files.out_of_fold, rows, classes)
    issues = label_issues.find(labels, rows.probabilities)
    label_issues_file.write(files.label_issues, issues, rows, classes)
    selection = select(labels, rows.probabilities, _PHOTOGRAPHS_IN_REPORT)
    jpegs = read_jpegs(crossval.whole, selection.numbers)
    crossval_report.write_report(
        files.report,
        title=_title(crossval),
        facts=_facts(crossval),
        metrics=figures,
        photographs=Photographs.of(
            selection, crossval_report.predictions(rows, jpegs, selection.numbers)
        ),
        classes=classes,
    )
    write_json(files.metrics, figures)  # Last: it says that all is there.
    return figures


def track(crossval: Crossval, figures: Mapping[str, Any]) -> None:
    """Tells the trackers of the figures: of each fold's run as a step, and of all together."""
    recipe, files = crossval.recipe, crossval.files
    trackers = Trackers(recipe.tracker_names, files.root, counted="run")
    data = {"dataset": crossval.manifest.digest, "folds": crossval.config.folds}
    with trackers.following({**recipe.settings(), **data}, rows=[]):
        for step, fold in enumerate(figures["folds"], start=1):
            trackers.log(fold, step)
        matrix = figures["confusion_matrix"]
        pictures = {"confusion matrix": confusion.picture(matrix, crossval.classes)}
        trackers.finish(figures, [files.metrics, files.out_of_fold, files.report], pictures)


def read_folds(crossval: Crossval) -> np.ndarray:
    """Returns what the models said, each of its own fold's examples.

    Returns:
        Probabilities, float64 [num_repeats, num_examples, num_classes].

    Raises:
        ValueError: if a fold's predictions cannot be read, or are on other examples.
    """
    examples, labels, classes = crossval.examples, crossval.labels, crossval.classes
    probabilities = np.empty([crossval.config.repeats, len(labels), len(classes)])
    for repeat, fold in crossval.runs():
        path = crossval.files.fold(repeat, fold).predictions
        rows = predictions_file.read(path, classes)
        own = np.flatnonzero(crossval.dealt[repeat - 1] == fold - 1)
        if not np.array_equal(rows.ids, examples.ids[own]):
            raise ValueError(
                "The predictions are on other examples than the fold's. Received: "
                f"{mirror.shown(path)}. Remove its folder and start the same command again."
            )
        probabilities[repeat - 1, own] = rows.probabilities
    return probabilities


def fold_figures(crossval: Crossval, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """Returns how good each fold's model was: `repeat`, `fold` and `pooled.short_figures`."""
    labels, classes = crossval.labels, crossval.classes
    rows = []
    for repeat, fold in crossval.runs():
        own = np.flatnonzero(crossval.dealt[repeat - 1] == fold - 1)
        figures = pooled.short_figures(labels[own], probabilities[repeat - 1, own], classes)
        rows.append({"repeat": repeat, "fold": fold, **figures})
    return rows


def read_other(crossval: Crossval) -> Rows:
    """Returns the predictions of the cross-validation to compare with.

    Raises:
        ValueError: if it is not finished, or of other photographs or folds.
    """
    config, here = crossval.config, crossval.identity
    assert config.against
    other = CrossvalFiles.reading(config.against)
    if not (other.identity.exists() and other.metrics.exists()):
        raise ValueError(
            f"There is no finished cross-validation to compare with. Received: "
            f"against={config.against}. Start its own command first."
        )
    there, repeats = read_json(other.identity), read_json(other.metrics)["num_repeats"]
    alike = all(there[key] == here[key] for key in ("folds_digest", "classes"))
    if not alike or repeats != config.repeats:
        raise ValueError(
            "Only cross-validations of the same photographs, labels and folds compare. Received: "
            f"against={config.against} with {there['data']['folds']} folds, {repeats} times, of "
            f"dataset {there['data']['digest'][:8]}; here {config.folds} folds, {config.repeats} "
            f"times, of {here['data']['digest'][:8]}. Give both the same."
        )
    return predictions_file.read(other.out_of_fold, crossval.classes)


def _title(crossval: Crossval) -> Title:
    now = datetime.datetime.now(datetime.UTC)
    recipe, digest = crossval.recipe, crossval.manifest.digest
    return Title(
        run=Path(recipe.workdir).resolve().name,
        dataset=f"{Path(recipe.data_dir).resolve().name} ({digest[:8]})",
        date=f"{now:%Y-%m-%d %H:%M} UTC",
        command=shlex.join(["python", "-m", "trainer.crossval", *crossval.given]),
    )


def _facts(crossval: Crossval) -> dict[str, str]:
    config, counts = crossval.config, crossval.manifest.counts
    photographs = len(np.unique(crossval.examples.photographs))
    examples = len(crossval.labels)
    cut = f" of {photographs:,} photographs" if photographs != examples else ""
    times = f", {config.repeats} times over; a photograph's probabilities are averaged"
    return {
        "Examples": f"{examples:,}{cut}, of {' and '.join(counts)}",
        "Folds": f"{config.folds}, dealt by class and by photograph"
        f"{times if config.repeats > 1 else ''}",
        "Each fold": "judged by a model that was trained on the others",
    }
