"""The files of a search for a recipe: each name once, and whose the folder is."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.workdir import mirror
from trainer.workdir.crossval_files import CrossvalFiles
from trainer.workdir.files import Workdir, read_json, write_json
from trainer.workdir.mirror import shown

_REST = ("model", "checkpoints", "tensorboard", "report")


class TuningFiles:
    """One search's folder; of one in a bucket, its copy, as a `Workdir` is."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.root = mirror.folder_of(path)
        self.mirror = mirror.of(path)
        self.identity = self.root / "tune.json"
        self.study = self.root / "study.db"
        self.features = self.root / "features"
        self.vectors = self.root / "vectors"  # What heads make of them before their weights.
        self.best_flags = self.root / "best.flags"
        self.report = self.root / "report.html"

    def trial(self, number: int) -> CrossvalFiles:
        """The folds of a trial, counted from 0."""
        return CrossvalFiles(self.root / "trials" / f"{number:04}")

    def log(self, number: int) -> Path:
        """What the runs of a trial's folds say."""
        return self.trial(number).root / "log.txt"

    def tidy(self, number: int, folds: int) -> None:
        """Removes what is large of a trial's folds; their figures and predictions stay."""
        for fold in range(1, folds + 1):
            workdir = self.trial(number).fold(1, fold)
            if self.mirror:
                self.mirror.give_up(workdir.root)
            for path in (getattr(workdir, name) for name in _REST):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)

    def put_up(self) -> None:
        """Puts what has changed into the bucket, where it is in one."""
        if self.mirror:
            self.mirror.put_up()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out until its end, as `Workdir.locked` does."""
        with Workdir(self.root).locked():
            yield

    def claim(self, this: Mapping[str, Any]) -> None:
        """Makes the folder this search's.

        Args:
            this: What makes it this one and no other, {name: value}.

        Raises:
            ValueError: if it holds a search with other flags or data.
        """
        there = read_json(self.identity) if self.identity.exists() else this
        differences = [
            f"{name}: {there.get(name, 'not given')} there, {this.get(name, 'not given')} here"
            for name in sorted({*there, *this})
            if there.get(name, "not given") != this.get(name, "not given")
        ]
        if differences:
            raise ValueError(
                f"The workdir holds another search. Received: workdir={shown(self.root)}; "
                f"{'; '.join(differences)}. Take another --workdir, or the same flags and data."
            )
        self.root.mkdir(parents=True, exist_ok=True)
        write_json(self.identity, this)
