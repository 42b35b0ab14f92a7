"""The files of a run: each name once, and whose run the folder holds."""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from tfrecords import files
from tfrecords.manifest import Manifest
from trainer.config import TrainConfig

_VERSIONS_OF = ("coco-animals", "tensorflow", "keras", "numpy")


class Workdir:
    """One run's folder."""

    def __init__(self, path: epath.PathLike) -> None:
        self.root = epath.Path(path)
        self.config = self.root / "config.json"
        self.classes = self.root / "classes.json"
        self.checkpoints = self.root / "checkpoints"
        self.history = self.root / "history.csv"
        self.tensorboard = self.root / "tensorboard"
        self.model = self.root / "model.keras"
        self.metrics = self.root / "metrics.json"
        self.report = self.root / "report.html"

    def check(self, config: TrainConfig, manifest: Manifest) -> None:
        """Refuses a folder that holds another run.

        Raises:
            ValueError: if it holds a run of other settings or other data; says the difference.
        """
        if not self.config.exists():
            return
        before = read_json(self.config)
        differences = [
            f"{name}: {before.get(part, {}).get(name)} there, {value} here"
            for part, settings in _describe(config, manifest).items()
            for name, value in settings.items()
            if before.get(part, {}).get(name) != value
        ]
        if differences:
            raise ValueError(
                f"The workdir holds another run. Received: workdir={self.root}; "
                f"{'; '.join(differences)}. Take another --workdir, or the same settings and data."
            )

    def claim(self, config: TrainConfig, manifest: Manifest) -> None:
        """Makes the folder this run's, once nothing stands in the way of its first step."""
        if not self.config.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            versions = {name: _version(name) for name in _VERSIONS_OF}
            write_json(self.classes, manifest.classes)
            write_json(self.config, {**_describe(config, manifest), "versions": versions})


def _describe(config: TrainConfig, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """What makes a run this one and no other."""
    return {
        "recipe": config.recipe(),
        "data": {
            "digest": manifest.digest,
            "classes": manifest.classes,
            "image_size": manifest.options["image_size"],
        },
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # The project, run from its folder.
        return None


def write_json(path: epath.Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Writes a JSON file, all of it or nothing."""
    files.write_atomically(path, json.dumps(content, indent=2) + "\n")


def read_json(path: epath.Path) -> Any:
    """Reads a JSON file of a workdir.

    Raises:
        ValueError: if it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(
            f"The workdir holds no trained run: there is no {path.name}. Received: {path.parent}. "
            "Train one with `python -m trainer.main --workdir=...`."
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"The file is damaged: {error}. Received: {path}.") from error
