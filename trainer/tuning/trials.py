"""The trials of a search: each a recipe, tried on fold after fold, given up or finished."""

import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from cli.command import PREEMPTED, PreemptedError
from trainer.cross_validation import Crossval, command_line, is_finished, of_fold
from trainer.loop import child
from trainer.loop.signals import StopSignals
from trainer.tuning.space import Flags, Space, in_words
from trainer.workdir.files import read_json
from trainer.workdir.tuning_files import TuningFiles

DONE = (TrialState.COMPLETE, TrialState.PRUNED)
_RANDOM_TRIALS = 10  # Before the sampler begins to learn, and twice as many as before it prunes.

Measure = Callable[[Flags, int, int], dict[str, Any]]
"""Returns `loss`, `accuracy` and `num_examples` of flags, given a trial's folder and a fold."""


class FailedTrialError(RuntimeError):
    """A trial whose run failed; others may not."""


def open_study(files: TuningFiles, seed: int) -> optuna.Study:
    """Returns the study of a workdir; trials that were stopped are first of the next ones."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(f"sqlite:///{files.study}")
    study = optuna.create_study(
        study_name="tune", storage=storage, load_if_exists=True, direction="minimize"
    )
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        if "flags" in trial.user_attrs:  # All of its parameters were drawn.
            study.enqueue_trial(trial.params, user_attrs={"folder": folder_of(trial)})
    # What is drawn depends on how many trials there are, not on how often they were stopped.
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=_RANDOM_TRIALS, seed=seed + len(study.get_trials(states=DONE))
    )
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=_RANDOM_TRIALS // 2)
    return study


def folder_of(trial: Trial | FrozenTrial) -> int:
    """The number of the folder in which a trial's folds are: one that goes on keeps it."""
    return trial.user_attrs.get("folder", trial.number)


@dataclasses.dataclass(frozen=True)
class Trials:
    """Tries recipes.

    Attributes:
        study: Where they are drawn and remembered.
        space: What they are drawn from.
        measure: Tries one on one fold.
        tidy: Called with a trial's folder once it is done.
        folds: On how many each is tried.
        clock: Counts seconds.
    """

    study: optuna.Study
    space: Space
    measure: Measure
    tidy: Callable[[int], None]
    folds: int
    clock: Callable[[], float] = time.monotonic

    def make(self, count: int, timeout_s: float | None, jobs: int) -> None:
        """Makes trials until there are so many that are finished or were given up.

        Args:
            count: How many, those that there are included.
            timeout_s: No other one begins after so many seconds.
            jobs: How many are made at once.
        """
        missing = count - len(self.study.get_trials(states=DONE))
        if missing > 0:
            self.study.optimize(
                self._try, missing, timeout_s, min(jobs, missing), catch=[FailedTrialError]
            )

    def _try(self, trial: Trial) -> float:
        flags = self.space.propose(trial)
        start, number = self.clock(), folder_of(trial)
        trial.set_user_attr("flags", flags)
        if twin := self._twin(trial, flags):
            print(f"Trial {number}: the same as trial {folder_of(twin)}.", flush=True)
            self._remember(trial, twin.user_attrs["figures"])
            return twin.user_attrs["figures"][-1]["loss"]
        print(f"Trial {number}: {in_words(flags) or 'the flags that were given'}", flush=True)
        figures: list[dict[str, Any]] = []
        for fold in range(1, self.folds + 1):
            try:
                measured = self.measure(flags, number, fold)
            except FailedTrialError as error:
                print(f"Trial {number}: failed. {error}", flush=True)
                self.tidy(number)
                if not self.study.get_trials(states=DONE):
                    raise RuntimeError(f"The first trial failed: {error}") from error
                raise
            figures.append(_together(figures, measured))
            self._remember(trial, figures)
            trial.report(figures[-1]["loss"], fold)
            if fold < self.folds and trial.should_prune():
                how = f"given up after {fold} of {self.folds} folds"
                self._conclude(number, figures, how, start)
                raise optuna.TrialPruned
        self._conclude(number, figures, f"{self.folds} folds", start)
        return figures[-1]["loss"]

    def _twin(self, trial: Trial, flags: Flags) -> FrozenTrial | None:
        """A finished trial of the same flags."""
        finished = self.study.get_trials(states=[TrialState.COMPLETE])
        return next((each for each in finished if each.user_attrs["flags"] == flags), None)

    def _remember(self, trial: Trial, figures: list[dict[str, Any]]) -> None:
        trial.set_user_attr("figures", figures)

    def _conclude(self, number: int, figures: list[dict[str, Any]], how: str, start: float) -> None:
        self.tidy(number)
        print(
            f"Trial {number}: loss {figures[-1]['loss']:.4f}, accuracy "
            f"{figures[-1]['accuracy']:.1%} ({how}, {self.clock() - start:.0f} s).",
            flush=True,
        )


def _together(before: list[dict[str, Any]], measured: dict[str, Any]) -> dict[str, Any]:
    """Returns the figures of the folds so far, each photograph once."""
    if not before:
        return measured
    last, count = before[-1], before[-1]["num_examples"] + measured["num_examples"]
    mean = {
        name: (last[name] * last["num_examples"] + measured[name] * measured["num_examples"])
        / count
        for name in ("loss", "accuracy")
    }
    return {**mean, "num_examples": count}


@dataclasses.dataclass(frozen=True)
class FoldRuns:
    """Tries a recipe on a fold, by a run of the trainer in a process of its own.

    Attributes:
        crossval: Whose folds they are, of the recipe that the user's flags give.
        shared: Flags by which all trials share their features.
        files: The search's.
        stop: Once a signal came, runs are stopped.
    """

    crossval: Crossval
    shared: Flags
    files: TuningFiles
    stop: StopSignals
    _filled: set[tuple[Any, ...]] = dataclasses.field(default_factory=set)
    _filling: dict[tuple[Any, ...], threading.Lock] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(threading.Lock)
    )

    def measure(self, flags: Flags, number: int, fold: int) -> dict[str, Any]:
        """Returns the figures of a fold, of a run that is started, goes on or was finished before.

        Raises:
            PreemptedError: if it was stopped.
            FailedTrialError: if it failed.
        """
        crossval = self._of_trial(flags, number)
        run, log = of_fold(crossval, 1, fold), self.files.log(number)
        log.parent.mkdir(parents=True, exist_ok=True)
        if not is_finished(crossval, 1, fold):
            with self._features_once(flags), log.open("a") as file:
                code = child.run(command_line(crossval, run), self.stop, file.write)
            if code == PREEMPTED:
                raise PreemptedError("A trial was stopped. Start the same command again to go on.")
            if code:
                raise FailedTrialError(
                    f"Received: exit code {code} of fold {run.fold}; {log} says more."
                )
        figures = read_json(crossval.files.fold(1, fold).metrics)
        return {name: figures[name] for name in ("loss", "accuracy", "num_examples")}

    def _of_trial(self, flags: Flags, number: int) -> Crossval:
        files, added = self.files.trial(number), {**flags, **self.shared}
        cache_dir = self.crossval.recipe.cache_dir or str(self.files.features)
        recipe = dataclasses.replace(
            self.crossval.recipe, workdir=str(files.root), cache_dir=cache_dir, **added
        )
        given = [*self.crossval.given, *(f"--{name}={value}" for name, value in added.items())]
        return dataclasses.replace(self.crossval, recipe=recipe, given=given, files=files)

    @contextlib.contextmanager
    def _features_once(self, flags: Flags) -> Iterator[None]:
        """Of trials side by side, one computes the features that all read; the others wait."""
        key = tuple(flags.get(name) for name in ("input_size", "augment", "test_views"))
        if key in self._filled:
            yield
            return
        with self._filling[key]:
            yield
        self._filled.add(key)
