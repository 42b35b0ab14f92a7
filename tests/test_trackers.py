"""Trackers are told of a run, go on with it when it does, and cannot end it."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.miniature import environment
from trainer.checks import require_trackers
from trainer.config import TrainConfig
from trainer.results import confusion
from trainer.tracking import tensorboard_summaries, trackers
from trainer.tracking.trackers import Trackers

PICTURES = {
    "confusion matrix": confusion.picture([[3, 1], [0, 2]], ["cat", "dog"]),
    "predictions/1: dog 60.00%, is cat": np.zeros([8, 8, 3], np.uint8),
}


class Told:
    """A tracker that remembers."""

    def __init__(self, known: str | None, fails_at: int = 0) -> None:
        self.id = known or "new"
        self.fails_at = fails_at
        self.rows: list[tuple[int | None, Mapping[str, float]]] = []
        self.kept: list[str] = []
        self.is_done: bool | None = None

    def log(self, numbers: Mapping[str, float], step: int | None) -> None:
        if self.fails_at and step is not None and step >= self.fails_at:
            raise ConnectionError("the server is gone")
        self.rows.append((step, numbers))

    def keep(self, files: Sequence[Path], pictures: trackers.Pictures) -> None:
        self.kept += [*(file.name for file in files), *pictures]

    def close(self, is_done: bool) -> None:
        self.is_done = is_done


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Told]:
    """What was started: wandb fails at its third step."""
    found: list[Told] = []

    def start(name: str, root: Any, settings: Any, known: str | None, counted: str) -> Told:
        found.append(Told(known, fails_at=3 if name == "wandb" else 0))
        return found[-1]

    monkeypatch.setattr(trackers, "_start_one", start)
    return found


def test_tracker_that_fails_is_left_out_with_one_warning_and_the_others_go_on(
    started: list[Told], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = Trackers(["wandb", "mlflow"], tmp_path)
    (tmp_path / "report.html").touch()
    with told.following({"epochs": 4}, rows=[]):
        for epoch in range(1, 5):
            told.log({"epoch": epoch, "loss": 1 / epoch, "val_loss": float("nan")}, epoch)
        files = [Path(tmp_path / name) for name in ("report.html", "none.json")]
        told.finish({"accuracy": 0.5, "split": "val", "per_class": {}}, files, PICTURES)
    wandb, mlflow = started
    assert [step for step, _ in wandb.rows] == [1, 2]
    assert [step for step, _ in mlflow.rows] == [1, 2, 3, 4, None]
    assert mlflow.rows[0][1] == {"epoch": 1, "loss": 1}
    assert mlflow.rows[-1][1] == {"final_accuracy": 0.5}
    assert mlflow.kept == ["report.html", *PICTURES]
    assert (mlflow.is_done, wandb.is_done) == (True, None)
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning == (
        "wandb is told no more of this run, which goes on. ConnectionError: the server is gone"
    )


def test_run_that_goes_on_is_the_same_one_and_is_not_told_twice(
    started: list[Told], tmp_path: Path
) -> None:
    rows = [{"epoch": 1, "loss": 0.5}]
    with pytest.raises(KeyboardInterrupt), Trackers(["mlflow"], tmp_path).following({}, []):
        raise KeyboardInterrupt
    with Trackers(["mlflow", "wandb"], tmp_path).following({}, rows):
        pass
    first, again, other = started
    assert first.is_done is False
    assert again.id == first.id
    assert again.rows == []
    assert other.rows == [(1, rows[0])]  # It sees the run for the first time.
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"mlflow": "new", "wandb": "new"}


def test_flag_names_trackers_and_is_no_part_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def config(trackers: str | None, workdir: str = "run") -> TrainConfig:
        return TrainConfig(data_dir="data", workdir=workdir, trackers=trackers)

    assert config("mlflow,wandb").tracker_names == ("mlflow", "wandb")
    assert config("mlflow").settings() == config(None).settings()
    for wrong in ("", "mlflow,mlflow", "neptune", "mlflow, wandb"):
        with pytest.raises(ValueError, match="must be mlflow or wandb, or both"):
            config(wrong)
    require_trackers(config(None))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="Say in MLFLOW_TRACKING_URI where they go"):
        require_trackers(config("mlflow", "gs://bucket/run"))
    monkeypatch.setattr("trainer.checks.importlib.util.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"trackers=wandb needs the extra \[wandb\]"):
        require_trackers(config("wandb"))


def test_tensorboard_is_shown_settings_figures_and_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    figures = {"accuracy": 0.5, "num_examples": 6, "confusion_matrix": [[3, 1], [0, 2]]}
    settings = {"epochs": 20, "cache_dtype": None, "ema": 0.9}
    for step in (1, 2):  # The second in place of the first.
        tensorboard_summaries.write(Path(tmp_path), settings, figures, PICTURES, step)
    found = EventAccumulator(str(tmp_path / "results"), size_guidance={"tensors": 0}).Reload()
    tags = found.Tags()["tensors"]
    assert sorted(tags) == ["_hparams_/session_start_info", "accuracy", *PICTURES]
    assert [event.step for event in found.Tensors("accuracy")] == [2]


# Two starts of a run, the second one goes on; nobody but this machine is asked.
FOLLOWED = """
import os, socket, sys
import numpy as np
from pathlib import Path

def connect(self, address):
    host = address[0] if isinstance(address, tuple) else "localhost"
    assert host in ("127.0.0.1", "::1", "localhost"), f"asked {address}"
    return really(self, address)

really, socket.socket.connect = socket.socket.connect, connect
from trainer.tracking.trackers import Trackers

root = Path(sys.argv[1])
(root / "report.html").write_text("<html>")
for epoch in (1, 2):
    trackers = Trackers(["mlflow", "wandb"], root)
    with trackers.following({"epochs": 2, "ema": None}, [{"epoch": 1, "loss": 0.5}][: epoch - 1]):
        trackers.log({"epoch": epoch, "loss": 0.5 / epoch}, epoch)
        if epoch == 2:
            pictures = {
                "confusion matrix": np.zeros([8, 8, 3], np.uint8),
                "predictions/1: dog 60.00%, is cat": np.zeros([8, 8, 3], np.uint8),
            }
            trackers.finish({"accuracy": 0.75}, [root / "report.html"], pictures)
"""


def test_mlflow_and_wandb_keep_one_run_in_the_workdir(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("wandb")
    root = tmp_path / "first run"
    root.mkdir()
    theirs = ("MLFLOW_", "WANDB_")
    kept = {name: value for name, value in environment().items() if not name.startswith(theirs)}
    done = subprocess.run(
        [sys.executable, "-c", FOLLOWED, str(root)], capture_output=True, text=True, cwd=tmp_path,
        env={
            **kept, "HOME": str(tmp_path / "home"), "DO_NOT_TRACK": "0",
            "WANDB__SERVICE_WAIT": "300",  # Seconds, for the start of its other process.
        }, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "told no more" not in done.stderr
    ids = json.loads((root / "trackers.json").read_text())
    with sqlite3.connect(root / "mlflow.db") as database:
        [run] = database.execute("select run_uuid, name, status from runs").fetchall()
        rows = database.execute("select key, step, value from metrics order by key, step")
        metrics = rows.fetchall()
        params = dict(database.execute("select key, value from params").fetchall())
    assert run == (ids["mlflow"], "first run", "FINISHED")
    assert metrics == [
        ("epoch", 1, 1), ("epoch", 2, 2), ("final_accuracy", 0, 0.75),
        ("loss", 1, 0.5), ("loss", 2, 0.25),
    ]  # fmt: skip
    assert params == {"epochs": "2", "ema": "None"}
    kept_by_mlflow = {path.name for path in (root / "mlruns").rglob("*.*")}
    assert kept_by_mlflow == {
        "report.html", "confusion matrix.png", "1_ dog 60.00%_ is cat.png",
    }  # fmt: skip
    # Both starts are of one run; of two in one second, W&B numbers the folders.
    folders = [path.name for path in (root / "wandb").glob("offline-run-*")]
    assert [f"-{ids['wandb']}" in name for name in folders] == [True, True]
    assert len([*(root / "wandb").glob("offline-run-*/files/report.html")]) == 1
    assert len([*(root / "wandb").glob("offline-run-*/files/media/images/*.png")]) == 2
    assert {path.name for path in tmp_path.iterdir()} <= {"first run", "home"}
