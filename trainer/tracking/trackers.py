"""The trackers of a run: what they are told, and that none of them can stop it."""

import contextlib
import functools
import math
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from absl import logging

from trainer.workdir.files import read_json, write_json

_LONGEST = 400  # Of an error's text.

Pictures = Mapping[str, np.ndarray]
"""RGB, uint8 [height, width, 3], each under its caption, which may begin with a `group/`."""


class Tracker(Protocol):
    """A tracker's own run, open for what comes.

    Attributes:
        id: What it is known by, so that it can be gone on with.
    """

    id: str

    def log(self, numbers: Mapping[str, float], step: int | None) -> None:
        """Adds numbers, none of them NaN, to a step; None: they are of the whole run."""

    def keep(self, files: Sequence[Path], pictures: Pictures) -> None:
        """Keeps files and pictures with the run."""

    def close(self, is_done: bool) -> None:
        """Ends it; one that was stopped may be gone on with."""


class Trackers:
    """Tells several trackers the same.

        trackers = Trackers(["mlflow"], workdir)
        with trackers.following({"epochs": 20}, rows=[]):
            trackers.log({"loss": 0.4}, step=1)
            trackers.finish({"accuracy": 0.9}, files=[], pictures={})

    One that fails is left out from then on, which a warning says once: training goes on. The ids of
    their runs are kept in the workdir, so that a run that is resumed is one run there too.

    Args:
        names: `mlflow`, `wandb`.
        root: The workdir.
        counted: What a step is.
    """

    def __init__(
        self, names: Sequence[str], root: str | os.PathLike[str], counted: str = "epoch"
    ) -> None:
        self._names, self._root, self._counted = names, Path(root), counted
        self._running: dict[str, Tracker] = {}

    @contextlib.contextmanager
    def following(
        self, settings: Mapping[str, Any], rows: Sequence[Mapping[str, float]]
    ) -> Iterator[None]:
        """Follows a run until its end, however it ends.

        Args:
            settings: What it was asked for, {name: value}.
            rows: Its steps so far; a tracker that has not seen the run is told of them.
        """
        for name in self._names:
            self._try(name, functools.partial(self._start, name, settings, rows))
        is_done = False
        try:
            yield
            is_done = True
        finally:
            self._tell(lambda tracker: tracker.close(is_done))
            self._running = {}

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Tells of a step's numbers; NaN is none."""
        numbers = {self._counted: step, **_numbers(row)}
        self._tell(lambda tracker: tracker.log(numbers, step))

    def finish(self, figures: Mapping[str, Any], files: Sequence[Path], pictures: Pictures) -> None:
        """Tells of what came out.

        Args:
            figures: Those that are numbers are logged, as `final_NAME`.
            files: Those that are there are kept.
            pictures: Are kept too.
        """
        numbers = {f"final_{name}": value for name, value in _numbers(figures).items()}
        there = [file for file in files if file.exists()]

        def tell(tracker: Tracker) -> None:
            tracker.log(numbers, None)
            tracker.keep(there, pictures)

        self._tell(tell)

    def _start(
        self, name: str, settings: Mapping[str, Any], rows: Sequence[Mapping[str, float]]
    ) -> None:
        ids = self._root / "trackers.json"
        known: dict[str, str] = read_json(ids) if ids.exists() else {}
        tracker = _start_one(name, self._root, settings, known.get(name), self._counted)
        self._running[name] = tracker
        if tracker.id != known.get(name):
            write_json(ids, {**known, name: tracker.id})
            for row in rows:
                tracker.log(_numbers(row), int(row[self._counted]))

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for name, tracker in [*self._running.items()]:
            self._try(name, functools.partial(what, tracker))

    def _try(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # Whatever a library or its server comes up with.
            self._running.pop(name, None)
            reason = textwrap.shorten(
                f"{type(error).__name__}: {error}", _LONGEST, placeholder=" ..."
            )
            logging.warning("%s is told no more of this run, which goes on. %s", name, reason)


def _start_one(
    name: str, root: Path, settings: Mapping[str, Any], known: str | None, counted: str
) -> Tracker:
    if name == "mlflow":
        from trainer.tracking.mlflow_run import MlflowRun

        return MlflowRun(root, settings, known)
    from trainer.tracking.wandb_run import WandbRun

    return WandbRun(root, settings, known, counted)


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
