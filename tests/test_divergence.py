"""Steps that give no number: where the run stops, what it names, and how it goes on."""

import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support import miniature, poisoned
from tests.test_train import figures_of, weights_of
from tfrecords.manifest import read_manifest
from trainer.data.order import Order
from trainer.data.split import find_split

# 41 training examples: 6 steps an epoch, 18 in all.
RECIPE = ("--batch_size=8", "--epochs=3", "--learning_rate=0.05", "--deterministic",
          "--checkpoint_every=2", "--cache_features=off")  # fmt: skip


def train(batches: str, dataset: Path, workdir: Path, *flags: str) -> subprocess.CompletedProcess:
    return miniature.train(
        f"--data_dir={dataset}", f"--workdir={workdir}", *RECIPE, *flags,
        script=(poisoned.__file__, batches),
    )  # fmt: skip


def checkpoints(workdir: Path) -> list[str]:
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


@pytest.mark.parametrize(("skipped", "batch"), [([], 7), ([9], 7), ([7], 8), ([8, 2, 7], 10)])
def test_skipped_batches_move_the_next_one_on(skipped: list[int], batch: int) -> None:
    assert Order(seed=0, batch_size=8, skipped=tuple(skipped)).batch_of_step(7) == batch


def test_run_stops_at_the_step_names_its_photographs_and_keeps_the_checkpoint(
    dataset: Path, tmp_path: Path
) -> None:
    done = train("9", dataset, tmp_path)
    assert done.returncode == 1
    split = find_split(str(dataset), read_manifest(dataset), "train")
    examples = Order(seed=0, batch_size=8).examples_in_batch(split, batch=9)
    assert len({example["id"] for example in examples}) == 8
    shown = ", ".join(f"{example['name']} ({example['id']})" for example in examples)
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert f"step 10 is not a number. Received: batch 9, of {shown}, all in " in line
    record = {"step": 10, "batch": 9, "examples": examples}
    assert json.loads((tmp_path / "diverged.json").read_text()) == [record]
    assert "The checkpoint of step 8 is kept" in line
    assert "--on_nan=rollback" in line
    assert checkpoints(tmp_path) == ["step-00000006.npz", "step-00000008.npz"]
    with np.load(tmp_path / "checkpoints" / "step-00000008.npz") as arrays:
        assert all(np.isfinite(arrays[name]).all() for name in arrays.files)


def test_run_that_stops_before_its_first_checkpoint_says_so(dataset: Path, tmp_path: Path) -> None:
    done = train("1", dataset, tmp_path)
    assert done.returncode == 1
    assert "No checkpoint was due yet" in done.stderr
    assert not (tmp_path / "checkpoints").exists()


@pytest.fixture(scope="module")
def rolled_back(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("rolled_back")
    done = train("0,9,15", dataset, workdir, "--on_nan=rollback")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Going back to the last checkpoint") == 3
    return workdir


def test_rolled_back_run_trains_on_with_numbers(rolled_back: Path) -> None:
    rows = figures_of(rolled_back)
    assert [row["step"] for row in rows] == ["6", "12", "18"]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())


def assert_same_end(one: Path, other: Path) -> None:
    assert figures_of(one) == figures_of(other)
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_replicas_pass_over_the_same_batches(
    rolled_back: Path, dataset: Path, tmp_path: Path
) -> None:
    done = train("0,9,15", dataset, tmp_path, "--on_nan=rollback", "--cpu_replicas=2")
    assert done.returncode == 0, done.stderr
    assert_same_end(tmp_path, rolled_back)


def test_fourth_batch_ends_a_run_which_goes_on_without_the_first_three(
    rolled_back: Path, dataset: Path, tmp_path: Path
) -> None:
    done = train("0,9,15,16", dataset, tmp_path, "--on_nan=rollback")
    assert done.returncode == 1
    assert "Received: batch 16, of " in done.stderr
    assert "3 are already" in done.stderr
    done = train("0,9,15", dataset, tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_end(tmp_path, rolled_back)
