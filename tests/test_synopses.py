"""What docstrings show can be pasted: it runs as it stands."""

import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from trainer.data.source import PhotographSource
from trainer.distribute.workers import Workers
from trainer.numerics.reproducible_model import ReproducibleModel
from trainer.workdir.checkpoints import Checkpoints


def synopsis_of(documented: Callable[..., Any]) -> str:
    """The first block of a docstring that is indented deeper than its text."""
    lines = inspect.getdoc(documented).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("    "))
    end = next((i for i in range(start, len(lines)) if re.match(r"\S", lines[i])), len(lines))
    return textwrap.dedent("\n".join(lines[start:end]))


def small_model() -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize(
    "documented",
    [PhotographSource.training_batches, Checkpoints, ReproducibleModel, Workers],
    ids=lambda documented: documented.__qualname__,
)
def test_synopsis_runs(documented: Callable[..., Any], dataset: Path, tmp_path: Path) -> None:
    names = {"data_dir": str(dataset), "workdir": str(tmp_path), "model": small_model()}
    exec(synopsis_of(documented), names)
    if documented is PhotographSource.training_batches:
        assert names["images"].shape == (8, 224, 224, 3)
        assert names["labels"].shape == (8, 8)
    elif documented is Checkpoints:
        assert [path.name for path in tmp_path.rglob("*.npz")] == ["step-00000001.npz"]
    elif documented is ReproducibleModel:
        assert names["model"].sums.parts == 4
        assert all(np.isfinite(weight).all() for weight in names["model"].get_weights())
    else:
        assert names["at_most"] == 3
