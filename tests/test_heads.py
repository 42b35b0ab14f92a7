"""Heads that one process trains on features that stay: what runs of the trainer measure."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.command import PreemptedError
from tests.support import miniature
from trainer.config import TrainConfig
from trainer.loop.signals import StopSignals
from trainer.tuning.worker import FailedFoldError, Worker, Workers

SHARED = {
    "weights": "none", "num_gpus": 0, "batch_size": 8, "fold_seed": 1000, "fold": "2/3",
    "cache_features": "on", "cache_maps": True, "augment": "flip", "test_views": "flip",
}  # fmt: skip
LOGISTIC = {"head_init": "logistic", "head_units": 0, "feature_norm": "standardize"}
RECIPES = {
    "fitted": {**LOGISTIC, "head": "gap_gmp", "epochs": 0, "class_weights": "balanced"},
    "places": {**LOGISTIC, "head": "places", "epochs": 2, "learning_rate": 0.01, "dropout": 0.2},
    "trained": {
        "head": "gem", "head_units": 8, "freeze_layers": 19, "epochs": 3,
        "feature_norm": "power_l2", "optimizer": "adamw",
        "learning_rate": 0.01, "label_smoothing": 0.1, "ema": 0.9,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{miniature.AS_MINIATURE}:{miniature.REPOSITORY}")
        worker = Worker(str(tmp_path_factory.mktemp("worker") / "vectors"), StopSignals())
    yield worker
    worker.end()


def measure(worker: Worker, dataset: Path, root: Path, **changes: object) -> dict[str, float]:
    root.mkdir(exist_ok=True)
    config = TrainConfig(
        data_dir=str(dataset), workdir=str(root / "fold"), cache_dir=str(root / "features"),
        **SHARED, **changes,
    )  # fmt: skip
    worker.measure(config, str(root / "log.txt"))
    return json.loads((root / "fold/metrics.json").read_text())


@pytest.mark.parametrize("recipe", RECIPES)
def test_worker_measures_what_a_run_of_the_trainer_does(
    recipe: str, worker: Worker, dataset: Path, tmp_path: Path
) -> None:
    found = measure(worker, dataset, tmp_path, **RECIPES[recipe])
    flags = [f"--{name}={value}" for name, value in (SHARED | RECIPES[recipe]).items()]
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={tmp_path / 'run'}", *flags)
    assert done.returncode == 0, done.stderr
    expected = json.loads((tmp_path / "run/metrics.json").read_text())
    assert found["num_examples"] == expected["num_examples"]
    assert found["accuracy"] == expected["accuracy"]
    assert found["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    rows = [(root / "predictions.csv").read_text().splitlines() for root in
            (tmp_path / "fold", tmp_path / "run")]  # fmt: skip
    assert [row.split(",")[:4] for row in rows[0]] == [row.split(",")[:4] for row in rows[1]]


@pytest.mark.parametrize("num_photographs", [40, 6])  # Of 6 there are no inner folds.
def test_head_is_fitted_once_to_equal_rows(num_photographs: int, tmp_path: Path) -> None:
    from trainer.features import logistic
    from trainer.tuning.remembered import RememberedFits

    numbers = np.arange(num_photographs)
    features = np.random.default_rng(0).normal(size=(num_photographs, 4)).astype(np.float32)
    rows = logistic.Rows(features, numbers % 4, numbers)
    fits = []

    def fit(*given: Any) -> logistic.LinearHead:
        fits.append(given)
        return logistic.fit(*given)

    head, again = (RememberedFits(tmp_path)(fit)(rows, 4, 0) for _ in range(2))
    assert len(fits) == 1
    for name, value in vars(head).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    RememberedFits(tmp_path)(fit)(rows, 4, 1)
    RememberedFits(tmp_path)(fit)(dataclasses.replace(rows, weights=numbers + 1.0), 4, 0)
    assert len(fits) == 3


def test_trial_that_diverges_is_a_line_and_the_next_one_is_measured(
    worker: Worker, dataset: Path, tmp_path: Path
) -> None:
    recipe = {**RECIPES["trained"], "optimizer": "sgd", "ema": None}
    with pytest.raises(FailedFoldError, match=r"is not a number\. Received: learning_rate=1e\+30"):
        measure(worker, dataset, tmp_path, **{**recipe, "learning_rate": 1e30})
    assert not (tmp_path / "fold/metrics.json").exists()
    assert measure(worker, dataset, tmp_path / "next", **recipe)["num_examples"] > 0


def test_signal_ends_a_worker_at_once(tmp_path: Path) -> None:
    stop = StopSignals()
    worker = Worker(str(tmp_path), stop)
    stop.requested = True
    with pytest.raises(PreemptedError, match="A trial was stopped"):
        worker.measure(TrainConfig(data_dir="d", workdir="w"), str(tmp_path / "log.txt"))
    worker.end()
    assert not worker.is_fit


def test_worker_that_dies_is_a_failed_fold(tmp_path: Path) -> None:
    worker = Worker(str(tmp_path), StopSignals())
    worker._process.kill()
    with pytest.raises(FailedFoldError, match=r"exit code -9; .*log\.txt says more"):
        worker.measure(TrainConfig(data_dir="d", workdir="w"), str(tmp_path / "log.txt"))
    worker.end()


def test_worker_that_dies_between_folds_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    monkeypatch.setattr(Worker, "measure", lambda worker, *_: measured.append(worker._process))
    config = TrainConfig(data_dir="d", workdir="w")
    with Workers(str(tmp_path), StopSignals()) as workers:
        for _ in range(3):
            workers.measure(config, "log.txt")
            if len(measured) == 2:
                measured[-1].kill()
                measured[-1].join()
    first, again, other = measured
    assert first is again
    assert other is not first
    assert not any(process.is_alive() for process in measured)


STARTS = """
import os, signal
from trainer.loop.signals import StopSignals
from trainer.tuning.worker import Worker
if __name__ == "__main__":
    print(Worker("vectors", StopSignals())._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_worker_ends_with_the_search_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "starts.py"
    script.write_text(STARTS)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=miniature.environment()
    )
    worker = Path("/proc", done.stdout.strip(), "stat")
    end = time.monotonic() + 120
    while worker.exists() and worker.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.1)
