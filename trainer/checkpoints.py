"""Checkpoints: everything that the rest of a run depends on, in one file that is whole or absent.

The order of the data is a function of (seed, step), so a step stands for the place in it.
"""

import dataclasses
import json
import re
from typing import Any

import keras
import numpy as np
from absl import logging
from etils import epath

from tfrecords import files

MAX_TO_KEEP = 2

_NAME = "step-{:08d}.npz"
_PATTERN = re.compile(r"step-(\d{8,})\.npz")


@dataclasses.dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: Batches trained on.
        history: A row for each finished epoch, as in history.csv.
        seconds: Time spent training in the epoch under way.
        metrics: State of the metrics of the epoch under way.
    """

    step: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    metrics: list[float] = dataclasses.field(default_factory=list)


class Checkpoints:
    """The checkpoints of one run, the newest few kept."""

    def __init__(self, directory: epath.PathLike) -> None:
        self._directory = epath.Path(directory)

    def save(self, model: keras.Model, progress: Progress) -> None:
        """Writes model, optimizer and progress."""
        self._directory.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{i:04d}": keras.ops.convert_to_numpy(v) for i, v in enumerate(_variables(model))
        }
        described = json.dumps(dataclasses.asdict(progress)).encode()
        arrays["progress"] = np.frombuffer(described, np.uint8)
        with files.atomic_writer(self._directory / _NAME.format(progress.step)) as file:
            np.savez(file, **arrays)
        for old in self._newest_first()[MAX_TO_KEEP:]:
            old.unlink()

    def restore(self, model: keras.Model) -> Progress:
        """Sets the model to the newest checkpoint that is undamaged; without one, to step 0."""
        for path in self._newest_first():
            try:
                arrays = _read(path)
                progress = Progress(**json.loads(arrays.pop("progress").tobytes()))
                _assign(model, arrays)
            except Exception as error:  # A damaged zip can fail in many ways; an older one may do.
                logging.warning("Passed over a damaged checkpoint: %s (%s).", path, error)
                continue
            logging.info("Resumed at step %d from %s.", progress.step, path)
            return progress
        return Progress()

    def _newest_first(self) -> list[epath.Path]:
        if not self._directory.exists():
            return []
        paths = [p for p in self._directory.iterdir() if _PATTERN.fullmatch(p.name)]
        return sorted(paths, key=lambda path: path.name, reverse=True)


def _variables(model: keras.Model) -> list[Any]:
    """The weights, dropout's state and the optimizer's slots."""
    metrics = {id(variable) for variable in model.metrics_variables}
    of_model = [variable for variable in model.variables if id(variable) not in metrics]
    return [*of_model, *model.optimizer.variables]


def _read(path: epath.Path) -> dict[str, np.ndarray]:
    """Reads every array: the zip's checksums show a damaged one only then."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _assign(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    for variable, (_, array) in zip(_variables(model), sorted(arrays.items()), strict=True):
        variable.assign(array)
