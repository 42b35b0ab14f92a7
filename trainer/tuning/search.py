"""A search for a recipe, from the flags to the winner and the page: the story on one page."""

import dataclasses
import datetime
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from cli import flags, machine
from tfrecords import files as tfrecords_files
from trainer.checks import check_no_other
from trainer.config import CrossvalConfig, TrainConfig, TuneConfig
from trainer.cross_validation import Crossval, prepare
from trainer.loop.signals import StopSignals
from trainer.model.backbone import named
from trainer.results import pooled, tuning_report
from trainer.results.report import Title
from trainer.results.tuning_report import Tried
from trainer.tracking.trackers import Trackers
from trainer.tuning import trials
from trainer.tuning.best_flags import flagfile
from trainer.tuning.folds import Folds
from trainer.tuning.space import Space
from trainer.tuning.worker import Workers
from trainer.workdir import identity, mirror
from trainer.workdir.crossval_files import CrossvalFiles, describe
from trainer.workdir.files import read_json
from trainer.workdir.initial_model import identify
from trainer.workdir.mirror import shown
from trainer.workdir.tuning_files import TuningFiles

_FOLD_SEED = 1000  # A cross-validation counts from 0: its folds are others.
_SPACE = 1  # Raised with every change of the table of what is searched.


def tune(config: TuneConfig, recipe: TrainConfig, given: Sequence[str], stop: StopSignals) -> str:
    """Writes the winner's flags and the page of a search, and returns in words who won.

    Args:
        given: The trainer's flags that were given, each as `--name=value`.

    Raises:
        ValueError: if nothing is left to search, if the dataset cannot be dealt into the folds, or
            if the workdir holds something else.
        PreemptedError: if a signal came; the same command goes on.
        RuntimeError: if the first trial failed.
    """
    with mirror.opened(recipe.workdir):
        return _search(config, recipe, given, stop)


def _search(
    config: TuneConfig, recipe: TrainConfig, given: Sequence[str], stop: StopSignals
) -> str:
    """As `tune`, in the workdir or in its copy."""
    files = TuningFiles(recipe.workdir)
    space, crossval = _prepare(config, recipe, given)
    with files.locked():
        files.claim(_identity(config, space, crossval))
        study = trials.open_study(files, recipe.seed)
        if not study.trials and space.may_be_fitted:
            study.enqueue_trial(_FIRST)
        # Trials are made by threads, and each looks at the signals.
        with stop.deferred(), Workers(str(files.vectors), stop) as workers:
            every = trials.Trials(
                study,
                space,
                Folds(crossval, space, files, stop, workers).measure,
                lambda number: files.tidy(number, config.folds),
                config.folds,
                files.put_up,
            )
            every.make(config.trials, config.timeout_s, config.jobs)
        return conclude(config, space, crossval, study, files)


# Drawn first, as far as it is searched: the best that is known for few photographs.
_FIRST = {
    "mirrored": "yes", "head_init": "logistic", "head": "gap_gmp", "places": "no",
    "feature_norm": "standardize", "class_weights": "balanced", "trained": "no",
}  # fmt: skip


def _prepare(
    config: TuneConfig, recipe: TrainConfig, given: Sequence[str]
) -> tuple[Space, Crossval]:
    """Returns what is searched and on which folds, once nothing stands in the way."""
    fixed = _fixed(given)
    if config.sizes and "input_size" in fixed:
        raise ValueError(
            "input_sizes takes the place of input_size. Received: "
            f"input_sizes={config.input_sizes}, input_size={recipe.input_size}. Leave one out."
        )
    check_no_other(recipe.workdir, TuningFiles)
    crossval = prepare(CrossvalConfig(folds=config.folds), recipe, given, _FOLD_SEED)
    has_boxes = crossval.manifest.options["source"] != "folder"
    space = Space(recipe, fixed, named(recipe.backbone), config.sizes, has_boxes)
    if space.is_empty():
        raise ValueError(
            "Every flag that is searched was given. Received: "
            f"{', '.join(sorted(fixed))}. Leave some out."
        )
    return space, crossval


def _fixed(given: Sequence[str]) -> frozenset[str]:
    """Returns the names of the flags that were given; a switch that is off is `--noNAME`."""
    names = {flag.removeprefix("--").partition("=")[0] for flag in given}
    options = flags.options_of(TrainConfig)
    return frozenset(name for name in options if names & {name, f"no{name}"})


def _identity(config: TuneConfig, space: Space, crossval: Crossval) -> dict[str, Any]:
    """What makes a search this one and no other: what is not searched, and the data."""
    settings = space.base.settings()
    given = {name: settings[name] for name in flags.identity_of(TrainConfig) if name in space.fixed}
    return {
        **given,
        "input_sizes": config.input_sizes,
        "folds": config.folds,
        "dataset": crossval.manifest.digest,
        "space": _SPACE,
    }


def conclude(
    config: TuneConfig, space: Space, crossval: Crossval, study: optuna.Study, files: TuningFiles
) -> str:
    """Writes best.flags and the page, and says who won.

    Raises:
        RuntimeError: if no trial was finished.
    """
    tried = _all_tried(study)
    finished = [each for each in tried if each.state == "finished"]
    if not finished:
        raise RuntimeError(
            "No trial was finished. Received: "
            f"timeout_s={config.timeout_s}, {len(tried)} begun. Start the same command again."
        )
    best = tuning_report.ranked(finished)[0]
    recipe = dataclasses.replace(space.base, **best.flags)
    comments = (
        f"Trial {best.number} of {len(tried)}: loss {best.loss:.4f}, accuracy "
        f"{best.accuracy:.1%}, chosen on the same {config.folds} folds: optimistic.",
    )
    tfrecords_files.write_atomically(files.best_flags, flagfile(recipe, comments))
    command = _how_good(space.base, files)
    measured = _cross_validated(recipe, crossval, files)
    tuning_report.write_report(
        files.report,
        title=_title(config, crossval),
        tried=tried,
        importance=_importance(study),
        facts=_facts(config, crossval, files),
        command=command,
        measured=measured,
    )
    _track(config, crossval, finished, files)
    return (
        f"Best: trial {best.number}, loss {best.loss:.4f}, accuracy {best.accuracy:.1%}: the best "
        f"of {len(tried)} on the same folds, so optimistic. How good it is: "
        f"{measured or command}\n"
        f"Flags: {shown(files.best_flags)}\nReport: {shown(files.report)}"
    )


def _track(
    config: TuneConfig, crossval: Crossval, finished: Sequence[Tried], files: TuningFiles
) -> None:
    """Tells the trackers of each finished trial as a step, and of the best."""
    recipe = crossval.recipe
    trackers = Trackers(recipe.tracker_names, files.root, counted="trial")
    asked = {**dataclasses.asdict(config), "dataset": crossval.manifest.digest}
    with trackers.following(asked, rows=[]):
        for trial in finished:
            trackers.log({"loss": trial.loss, "accuracy": trial.accuracy}, trial.number)
        best = tuning_report.ranked(finished)[0]
        found = {"loss": best.loss, "accuracy": best.accuracy, "trial": best.number}
        trackers.finish(found, [files.best_flags, files.report], {})


def _all_tried(study: optuna.Study) -> list[Tried]:
    """Returns each recipe's trial: of equal flags the first one that was finished, or the last."""
    found: dict[str, Tried] = {}
    for trial in study.trials:
        key = str(sorted(trial.user_attrs.get("flags", {}).items()))
        if "flags" in trial.user_attrs and (key not in found or found[key].state != "finished"):
            found[key] = _tried(trial)
    return list(found.values())


def _tried(trial: FrozenTrial) -> Tried:
    states = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "given up"}
    figures = trial.user_attrs.get("figures", [])
    last = figures[-1] if figures else {}
    return Tried(
        number=trials.folder_of(trial),
        state=states.get(trial.state, "failed"),
        loss=last.get("loss"),
        accuracy=last.get("accuracy"),
        folds=len(figures),
        flags=trial.user_attrs["flags"],
    )


def _importance(study: optuna.Study) -> dict[str, float]:
    """Which share of what trials differ in comes from what was drawn; none of too few trials."""
    finished = study.get_trials(states=[TrialState.COMPLETE])
    if len({trial.value for trial in finished}) < 5:
        return {}
    return optuna.importance.get_param_importances(study)


def _how_good(recipe: TrainConfig, files: TuningFiles) -> str:
    words = [
        "python", "-m", "trainer.crossval", f"--flagfile={shown(files.best_flags)}",
        f"--data_dir={recipe.data_dir}", f"--workdir={shown(files.root)}-crossval", "--folds=5",
    ]  # fmt: skip
    return shlex.join(words)


def _cross_validated(recipe: TrainConfig, crossval: Crossval, files: TuningFiles) -> str | None:
    """What the command of `_how_good` found of a recipe; None where it is not finished."""
    found = _crossval_files(files)
    if not (found.identity.exists() and found.metrics.exists()):
        return None
    there = read_json(found.identity)
    here = describe(identify(recipe, crossval.manifest), there["data"]["folds"], [])
    if identity.differences(there, {**here, "folds_digest": there["folds_digest"]}):
        return None  # Another trial has won since.
    return pooled.in_words(read_json(found.metrics))


def _crossval_files(files: TuningFiles) -> CrossvalFiles:
    return CrossvalFiles.reading(f"{shown(files.root)}-crossval")


def _title(config: TuneConfig, crossval: Crossval) -> Title:
    now = datetime.datetime.now(datetime.UTC)
    recipe, digest = crossval.recipe, crossval.manifest.digest
    options = [
        f"--{name}={value}" for name, value in dataclasses.asdict(config).items()
        if value != getattr(TuneConfig, name)
    ]  # fmt: skip
    return Title(
        run=Path(recipe.workdir).resolve().name,
        dataset=f"{Path(recipe.data_dir).resolve().name} ({digest[:8]})",
        date=f"{now:%Y-%m-%d %H:%M} UTC",
        command=shlex.join(["python", "-m", "trainer.tune", *crossval.given, *options]),
    )


def _facts(config: TuneConfig, crossval: Crossval, files: TuningFiles) -> dict[str, str]:
    folder = Path(crossval.recipe.cache_dir or files.features)
    stores = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    kinds = "one kind" if len(stores) == 1 else f"{len(stores)} kinds"
    size = sum(file.stat().st_size for store in stores for file in store.iterdir())
    return {
        "Examples": f"{len(crossval.labels):,}, all splits together",
        "Folds": f"{config.folds}, the same for every trial",
        "Features": f"{machine.readable(size)}, of {kinds}, in {folder}"
        if stores
        else "none were kept",
    }
