"""The trials of a search: each a recipe, tried on fold after fold, given up or finished."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from trainer.tuning.space import Flags, Space, in_words
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
        kept: Called once the study knows how a trial ended.
        clock: Counts seconds.
    """

    study: optuna.Study
    space: Space
    measure: Measure
    tidy: Callable[[int], None]
    folds: int
    kept: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    # SQLite refuses, rather than waits, where two threads that have read want to write.
    _studying: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def make(self, count: int, timeout_s: float | None, jobs: int) -> None:
        """Makes trials until there are so many that are finished or were given up.

        Args:
            count: How many, those that there are included.
            timeout_s: No other one begins after so many seconds.
            jobs: How many are made at once.
        """
        missing = range(count - len(self.study.get_trials(states=DONE)))
        left = collections.deque(missing)
        end = math.inf if timeout_s is None else self.clock() + timeout_s

        def make_some() -> None:
            with contextlib.suppress(IndexError):
                while self.clock() < end:
                    left.pop()
                    self._make_one(left)

        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            making = [pool.submit(make_some) for _ in range(jobs)]
        for each in making:
            each.result()

    def _make_one(self, left: collections.deque[int]) -> None:
        """Makes a trial; where that ends the search, none is left."""
        try:
            trial, flags = self._ask()
            if flags is None:
                return
            loss, state = self._try(trial, flags)
            with self._studying:
                self.study.tell(trial, loss, state)
            self.kept()
        except BaseException:
            left.clear()
            raise

    def _ask(self) -> tuple[Trial, Flags | None]:
        """Returns the next trial and its flags; of the same flags as an earlier one's, None."""
        with self._studying:
            trial = self.study.ask()
            flags, number = self.space.propose(trial), folder_of(trial)
            trial.set_user_attr("flags", flags)
            finished = self.study.get_trials(states=[TrialState.COMPLETE])
            twin = next((each for each in finished if each.user_attrs["flags"] == flags), None)
            if twin is None:
                _say(f"Trial {number}: {in_words(flags)}")
                return trial, flags
            _say(f"Trial {number}: the same as trial {folder_of(twin)}.")
            trial.set_user_attr("figures", twin.user_attrs["figures"])
            self.study.tell(trial, twin.value)
            return trial, None

    def _try(self, trial: Trial, flags: Flags) -> tuple[float | None, TrialState]:
        """Returns a trial's loss and how it ended."""
        start, number = self.clock(), folder_of(trial)
        figures: list[dict[str, Any]] = []
        state = TrialState.COMPLETE
        for fold in range(1, self.folds + 1):
            try:
                figures.append(_together(figures, self.measure(flags, number, fold)))
            except FailedTrialError as error:
                self._fail(number, error)
                return None, TrialState.FAIL
            if self._is_bad(trial, figures) and fold < self.folds:
                state = TrialState.PRUNED
                break
        self.tidy(number)
        last, how = figures[-1], "" if state == TrialState.COMPLETE else "given up after "
        _say(
            f"Trial {number}: loss {last['loss']:.4f}, accuracy {last['accuracy']:.1%} "
            f"({how}{len(figures)} of {self.folds} folds, {self.clock() - start:.0f} s)."
        )
        return (last["loss"] if state == TrialState.COMPLETE else None), state

    def _is_bad(self, trial: Trial, figures: list[dict[str, Any]]) -> bool:
        """Remembers the figures so far, and says whether they are worse than most trials'."""
        with self._studying:
            trial.set_user_attr("figures", figures)
            trial.report(figures[-1]["loss"], len(figures))
            return trial.should_prune()

    def _fail(self, number: int, error: FailedTrialError) -> None:
        self.tidy(number)
        with self._studying:
            is_first = not self.study.get_trials(states=DONE)
        if is_first:
            raise RuntimeError(f"The first trial failed: {error}") from error
        _say(f"Trial {number}: failed. {error}")


def _say(text: str) -> None:
    print(f"{text}\n", end="", flush=True)  # At once: other threads say something too.


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
