"""The files of a run: each name once, and whose run the folder holds."""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from cli import lock
from tfrecords import files
from trainer.config import with_defaults
from trainer.workdir import identity, mirror
from trainer.workdir.mirror import shown

_LOCK = ".lock"
_OF_MANY = {
    "crossval.json": ("a cross-validation", "Name one of its runs, as {}/folds/1-1"),
    "tune.json": (
        "a search for a recipe, which keeps no models",
        "Train what it found with `python -m trainer.main --flagfile={}/best.flags --workdir=...`",
    ),
}


class Workdir:
    """One run's folder; of a run in a bucket, its copy, once `mirror.opened` has made one.

    Attributes:
        root: The folder.
        mirror: What puts up what is written; None of a folder of this machine, and of a run that
            this process but reads.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.root = mirror.folder_of(path)
        self.mirror = mirror.of(path)
        self.config = self.root / "config.json"
        self.classes = self.root / "classes.json"
        self.checkpoints = self.root / "checkpoints"
        self.features = self.root / "features"
        self.history = self.root / "history.csv"
        self.tensorboard = self.root / "tensorboard"
        self.model = self.root / "model.keras"
        self.metrics = self.root / "metrics.json"
        self.report = self.root / "report.html"

    @classmethod
    def reading(cls, path: str | os.PathLike[str]) -> "Workdir":
        """The folder of a run that is but read; of one in a bucket, what it holds now.

        Raises:
            ValueError: if it holds a cross-validation or a search in place of a run.
            RuntimeError: if the client of its store is not installed.
            BucketError: if the bucket cannot be read.
        """
        workdir = cls(mirror.read(path))
        if not workdir.config.exists():
            _refuse_many(path)
        return workdir

    @property
    def name(self) -> str:
        """What the folder is called, there where the user has it."""
        return Path(shown(self.root)).resolve().name

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other runs out until its end, for the one process that writes here.

        A run in a bucket has a lease instead, which `mirror.opened` takes. Where a file system has
        no locks, nobody is kept out, and a warning says so.

        Raises:
            RuntimeError: if another process holds the folder, with its host and process id.
        """
        with contextlib.ExitStack() as stack:
            if not mirror.is_leased(self.root):
                path = self.root / _LOCK
                try:
                    stack.enter_context(lock.hold_and_remove(path, _refusal))
                except lock.NoLocksError as error:
                    path.unlink(missing_ok=True)
                    logging.warning(
                        "%s has no locks (%s): nothing keeps a second run out of it.",
                        self.root, error.strerror,
                    )  # fmt: skip
            yield

    def check(self, run_identity: Mapping[str, Any]) -> None:
        """Refuses a folder that holds another run.

        Args:
            run_identity: That of the run to be started, as `identity.describe` returns it.

        Raises:
            ValueError: if it holds a run of other settings or other data; says the difference.
        """
        if not self.config.exists():
            return
        self.setting("recipe", "epochs")
        self.setting("data", "digest")
        differences = identity.differences(read_json(self.config), run_identity)
        if differences:
            raise ValueError(
                f"The workdir holds another run. Received: workdir={shown(self.root)}; "
                f"{'; '.join(differences)}. Take another --workdir, or the same settings and data."
            )

    def claim(self, run_identity: Mapping[str, Any], start: Mapping[str, Any]) -> None:
        """Makes the folder this run's, once nothing stands in the way of its first step.

        Args:
            run_identity: The same as before, but for epochs, which may have grown.
            start: What `provenance.describe` says of this start; it may be another each time.
        """
        if self.config.exists():
            before = read_json(self.config)
            if self.epochs() != run_identity["recipe"]["epochs"]:
                self.remove(self.metrics)  # They stand for a run that is finished.
            recipe = {**before["recipe"], "epochs": run_identity["recipe"]["epochs"]}
            resumed = [*before.get("resumed", []), start]
            write_json(self.config, {**before, "recipe": recipe, "resumed": resumed})
            self.put_up()
            return
        self.root.mkdir(parents=True, exist_ok=True)
        write_json(self.classes, run_identity["data"]["classes"])
        write_json(self.config, {**run_identity, **start, "resumed": []})
        self.put_up()

    def put_up(self) -> None:
        """Puts what has changed into the bucket, where the run is in one; not checkpoints."""
        if self.mirror:
            self.mirror.put_up()

    def remove(self, path: Path) -> None:
        """Removes one of its files; where the run is in a bucket, there too, and at once."""
        if self.mirror:
            self.mirror.remove(path)
        path.unlink(missing_ok=True)

    def evaluation(self, name: str) -> Path:
        """The folder of the figures of this name, which `trainer.evaluate` writes."""
        return self.root / "evaluations" / name

    def require_model(self) -> None:
        """Refuses a folder without a trained model.

        Raises:
            ValueError: if there is none yet, or if its file is damaged.
        """
        if not self.model.exists():
            raise ValueError(
                f"The workdir holds no trained model. Received: {shown(self.root)}. "
                "Train one with `python -m trainer.main --workdir=...`."
            )
        if not _is_zip(self.model):
            raise ValueError(
                f"The trained model is damaged: it is no zip file, as Keras's are. Received: "
                f"{shown(self.model)}. Put a copy of it back; or remove it and start the run's "
                "training command again, which writes it from the last checkpoint."
            )

    def model_digest(self) -> str:
        """Hex sha256 of the trained model's file."""
        with self.model.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def setting(self, part: str, name: str) -> Any:
        """Returns what config.json says of a name in one of its parts, `recipe` or `data`.

        Raises:
            ValueError: if there is no run, or if it does not say.
        """
        content = read_json(self.config)
        settings = content.get(part) if isinstance(content, dict) else None
        if not isinstance(settings, dict) or name not in settings:
            raise ValueError(
                f"The file is not what a run writes: it has no {part}.{name}. Received: "
                f"{shown(self.config)}. Put a copy of it back, or take another --workdir."
            )
        return settings[name]

    def fit(self) -> str:
        """How the run fits a photograph to its square, as --fit names it.

        Raises:
            ValueError: as `setting`, if there is no run.
        """
        self.setting("recipe", "epochs")  # That it is a run's.
        return with_defaults(read_json(self.config)["recipe"])["fit"]

    def epochs(self) -> int | None:
        """How many epochs the run was asked for so far; None where there is none yet."""
        return self.setting("recipe", "epochs") if self.config.exists() else None

    @property
    def diverged(self) -> Path:
        """The batches on which a step gave no number; where there is none, no file."""
        return self.root / "diverged.json"

    @property
    def predictions(self) -> Path:
        """What a fold's model says of each of its examples; of other runs, no file."""
        return self.root / "predictions.csv"

    @property
    def range_test_table(self) -> Path:
        """The rates and losses that --lr_find tried."""
        return self.root / "lr_find.csv"

    @property
    def range_test_picture(self) -> Path:
        """The same as a curve."""
        return self.root / "lr_find.png"

    def files(self) -> list[Path]:
        """Every file and folder that a run writes."""
        return [path for name, path in vars(self).items() if name not in ("root", "mirror")]

    def is_finished(self) -> bool:
        """Whether nothing is left to do: metrics.json is written last, and removed to go on."""
        return all(file.exists() for file in (self.config, self.model, self.metrics, self.report))


def _refusal(path: Path) -> str:
    return mirror.in_use(str(path.parent), lock.holder(path))


def _refuse_many(path: str | os.PathLike[str]) -> None:
    """Refuses what holds many runs, and points to one."""
    root = mirror.read(path, list(_OF_MANY))
    for name, (what, instead) in _OF_MANY.items():
        if (root / name).exists():
            raise ValueError(
                f"The workdir must hold one run, and holds {what}. Received: {os.fspath(path)}. "
                f"{instead.format(shown(root))}."
            )


def _is_zip(path: Path) -> bool:
    """Whether a file ends as a zip does: one that is cut off, or empty, does not."""
    with path.open("rb") as file:
        return zipfile.is_zipfile(file)


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Writes a JSON file, all of it or nothing."""
    files.write_atomically(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file of a workdir.

    Raises:
        ValueError: if it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(
            f"The workdir holds no trained run: there is no {path.name}. Received: "
            f"{shown(path.parent)}. Train one with `python -m trainer.main --workdir=...`."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"The file is damaged: {error}. Received: {shown(path)}.") from error
