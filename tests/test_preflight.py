"""The dry run: what it says, and that it leaves no trace."""

import shutil
from pathlib import Path

import keras
import pytest
from etils import epath

from tests import miniature
from trainer import disk, preflight


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder: its bytes and when they were written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_dry_run_says_what_would_be_and_writes_nothing(dataset: Path, tmp_path: Path) -> None:
    before = contents(dataset)
    workdir = tmp_path / "run"
    done = miniature.train(
        f"--data_dir={dataset}", f"--workdir={workdir}", "--batch_size=8", "--epochs=4",
        "--cpu_replicas=2", "--dry_run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = {" ".join(line.split()) for line in done.stdout.splitlines()}
    assert {
        "Dry run: nothing is written.",
        "Global batch: 8 = 2 x 4",
        "Data: 41 to train on, 9 to validate on, 8 classes",
        "Steps: 6 an epoch, 24 in 4 epochs; starting at step 0",
        "Parameters: 3,224: 0 frozen, 3,224 train",
        str(workdir / "model.keras"),
    } <= lines
    assert any(line.startswith("First step: ") for line in lines)
    assert not list(tmp_path.iterdir())
    assert contents(dataset) == before


def test_memory_is_that_of_variables_and_of_the_outputs_to_go_back_through() -> None:
    """3 x 2 + 2 weights that do not train, 2 x 5 + 5 that do, with momentum."""
    inputs = keras.Input((3,))
    frozen = keras.layers.Dense(2, trainable=False)
    model = keras.Model(inputs, keras.layers.Dense(5)(frozen(inputs)))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    scalars = {"learning rate": 4, "iterations": model.optimizer.iterations.numpy().itemsize}
    weights, gradients, momenta = 4 * (8 + 15), 4 * 15, 4 * 15
    known = weights + gradients + momenta + sum(scalars.values())
    # Of 10 images: the last layer's 5 outputs, less than the neighbours 2 + 5.
    assert preflight.memory_bytes(model, rows=10) == known + 10 * 4 * 7


@pytest.mark.parametrize(("free", "passes"), [(99, False), (100, True)])
def test_disk_that_is_too_small_is_refused(
    free: int, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    workdir = epath.Path(tmp_path / "not" / "there" / "yet")
    if passes:
        disk.require_room(workdir, 100)
        return
    with pytest.raises(ValueError, match="The disk has no room"):
        disk.require_room(workdir, 100)
