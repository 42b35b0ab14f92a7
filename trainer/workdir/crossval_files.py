"""The files of a cross-validation: each name once, and whose the folder is."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.workdir import identity, mirror, mirrored
from trainer.workdir.files import Workdir, read_json, write_json
from trainer.workdir.mirror import shown


class CrossvalFiles:
    """One cross-validation's folder; of one in a bucket, its copy, as a `Workdir` is."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.root = mirror.folder_of(path)
        self.mirror = mirror.of(path)
        self.identity = self.root / "crossval.json"
        self.features = self.root / "features"
        self.out_of_fold = self.root / "out_of_fold.csv"
        self.label_issues = self.root / "label_issues.csv"
        self.report = self.root / "report.html"
        self.metrics = self.root / "metrics.json"  # Written last: where it stands, all is there.

    def fold(self, repeat: int, fold: int) -> Workdir:
        """The run of a fold; both are counted from 1."""
        return Workdir(self.root / "folds" / f"{repeat}-{fold}")

    @classmethod
    def reading(cls, path: str | os.PathLike[str]) -> "CrossvalFiles":
        """The folder of one that is but read, as `Workdir.reading`."""
        return cls(mirror.read(path, mirrored.CROSSVAL))

    def put_up(self) -> None:
        """Puts what has changed into the bucket, where it is in one."""
        if self.mirror:
            self.mirror.put_up()

    def remove_metrics(self) -> None:
        """Removes the figures, which stand for folds that are all finished."""
        if self.mirror:
            self.mirror.remove(self.metrics)
        self.metrics.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out until its end, as `Workdir.locked` does."""
        with Workdir(self.root).locked():
            yield

    def refuse_run(self) -> None:
        """Refuses a folder that holds a run.

        Raises:
            ValueError: if it does.
        """
        if Workdir(self.root).config.exists():
            raise ValueError(
                "The workdir holds a run, and a cross-validation needs a folder of its own. "
                f"Received: workdir={shown(self.root)}. Take another --workdir."
            )

    def claim(self, this: Mapping[str, Any]) -> None:
        """Makes the folder this cross-validation's, whose epochs may have grown.

        Args:
            this: Its identity, as `describe` returns it.

        Raises:
            ValueError: if it holds a cross-validation of other settings or data.
        """
        if self.identity.exists():
            differences = identity.differences(read_json(self.identity), this)
            if differences:
                raise ValueError(
                    "The workdir holds another cross-validation. Received: "
                    f"workdir={shown(self.root)}; {'; '.join(differences)}. Take "
                    "another --workdir, or the same settings and data."
                )
        self.root.mkdir(parents=True, exist_ok=True)
        write_json(self.identity, this)
        self.put_up()


def describe(
    run: Mapping[str, Any], num_folds: int, dealt: Sequence[tuple[str, int]]
) -> dict[str, Any]:
    """Returns the identity of a cross-validation.

    Args:
        run: The identity of a run of its recipe.
        num_folds: How many folds it has.
        dealt: What each example is known by, and its fold.
    """
    recipe = {k: v for k, v in run["recipe"].items() if k not in ("fold", "fold_seed")}
    lines = sorted(f"{key}: {fold}\n" for key, fold in dealt)
    return {
        "recipe": recipe,
        "data": {**run["data"], "folds": num_folds},
        "classes": run["data"]["classes"],
        "folds_digest": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }
