"""A trial on a fold: in a worker where the head alone trains, else as a run in its own process."""

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

from cli.command import PREEMPTED, PreemptedError
from trainer.config import TrainConfig
from trainer.cross_validation import Crossval, command_line, is_finished, kept, of_fold
from trainer.loop import child
from trainer.loop.signals import StopSignals
from trainer.tuning.space import OF_FEATURES, Flags, Space
from trainer.tuning.trials import FailedTrialError
from trainer.tuning.worker import FailedFoldError, Workers
from trainer.workdir.files import Workdir, read_json
from trainer.workdir.initial_model import identify
from trainer.workdir.mirror import shown
from trainer.workdir.tuning_files import TuningFiles


@dataclasses.dataclass(frozen=True)
class Folds:
    """Tries a recipe on a fold.

    Attributes:
        crossval: Whose folds they are, of the recipe that the user's flags give.
        space: What trials are drawn from; says which features they share.
        files: The search's.
        stop: Once a signal came, runs are stopped.
        workers: Measure the trials whose heads alone train.
    """

    crossval: Crossval
    space: Space
    files: TuningFiles
    stop: StopSignals
    workers: Workers
    _filled: set[tuple[Any, ...]] = dataclasses.field(default_factory=set)
    _filling: dict[tuple[Any, ...], threading.Lock] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(threading.Lock)
    )

    def measure(self, flags: Flags, number: int, fold: int) -> dict[str, Any]:
        """Returns the figures of a fold, which is measured now, gone on with, or was before.

        Raises:
            PreemptedError: if it was stopped.
            FailedTrialError: if it failed.
        """
        crossval = self._of_trial(flags, number)
        self.files.log(number).parent.mkdir(parents=True, exist_ok=True)
        if self.space.trains_head_alone(flags):
            run = of_fold(crossval, 1, fold)
            if not self._is_measured(run):
                with self._features_once(flags):
                    self._measure_head(run, number)
        elif not is_finished(crossval, 1, fold):
            with self._features_once(flags):
                self._run(crossval, fold, number)
        figures = read_json(crossval.files.fold(1, fold).metrics)
        return {name: figures[name] for name in ("loss", "accuracy", "num_examples")}

    def _is_measured(self, run: TrainConfig) -> bool:
        """Whether a worker has measured a fold: its figures are written last.

        Raises:
            ValueError: if the folder holds another run.
        """
        workdir = Workdir(run.workdir)
        workdir.check(identify(run, self.crossval.manifest))
        return workdir.metrics.exists() and workdir.epochs() == run.epochs

    def _measure_head(self, run: TrainConfig, number: int) -> None:
        try:
            self.workers.measure(run, str(self.files.log(number)))
        except FailedFoldError as error:
            raise FailedTrialError(f"{error} (fold {run.fold})") from error

    def _run(self, crossval: Crossval, fold: int, number: int) -> None:
        """Starts a run of the trainer, or goes on with it."""
        run, log = of_fold(crossval, 1, fold), self.files.log(number)
        workdir = crossval.files.fold(1, fold)
        say = child.titled(f"Trial {number}, fold {run.fold}:", set())
        with log.open("a") as file, kept(workdir, self.stop, say):
            code = child.run(command_line(crossval, run), self.stop, file.write)
            if code == PREEMPTED:
                raise PreemptedError("A trial was stopped. Start the same command again to go on.")
        if code:
            raise FailedTrialError(
                f"Received: exit code {code} of fold {run.fold}; {shown(log)} says more."
            )

    def _of_trial(self, flags: Flags, number: int) -> Crossval:
        files, added = self.files.trial(number), {**flags, **self.space.shared}
        cache_dir = self.crossval.recipe.cache_dir or str(self.files.features)
        recipe = dataclasses.replace(
            self.crossval.recipe, workdir=str(files.root), cache_dir=cache_dir, **added
        )
        given = [*self.crossval.given, *(f"--{name}={value}" for name, value in added.items())]
        return dataclasses.replace(self.crossval, recipe=recipe, given=given, files=files)

    @contextlib.contextmanager
    def _features_once(self, flags: Flags) -> Iterator[None]:
        """Of trials side by side, one computes the features that all read; the others wait."""
        key = tuple(flags.get(name) for name in OF_FEATURES)
        if key in self._filled:
            yield
            return
        with self._filling[key]:
            yield
        self._filled.add(key)
