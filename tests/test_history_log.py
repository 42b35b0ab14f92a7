"""What validation finds reaches the epoch's row under its own name."""

import csv
import math
from pathlib import Path

import pytest

from trainer.loop.history_log import HistoryLog
from trainer.loop.validation import Validation
from trainer.workdir import history
from trainer.workdir.train_state import TrainState


def test_metric_of_an_epoch_is_a_column_once_validation_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "COLUMNS", (*history.COLUMNS, "val_macro_f1"))
    before = dict.fromkeys(history.COLUMNS[:-1], 0.5) | {"epoch": 1}
    state = TrainState(step=2, history=[before])  # Of a version that did not know the metric.
    path = Path(tmp_path / "history.csv")
    log = HistoryLog(state, path, images_per_epoch=8, learning_rate=lambda: 0.1, clock=lambda: 7.0)
    logs = {"loss": 0.5, "accuracy": 0.75}
    log.on_epoch_begin(1)
    log.on_train_batch_end(0)
    Validation(lambda: {"val_loss": 0.25, "val_macro_f1": 0.125}).on_epoch_end(1, logs)
    log.on_epoch_end(1, logs)
    old, new = csv.DictReader(path.read_text().splitlines())
    assert float(new["val_macro_f1"]) == 0.125
    assert float(new["step"]) == 3
    assert math.isnan(float(new["val_accuracy"]))  # Which nothing measured.
    assert math.isnan(float(old["val_macro_f1"]))
