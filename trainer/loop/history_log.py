"""The row of each epoch: added to the train state, and written to history.csv."""

import math
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import keras

from trainer.workdir import history
from trainer.workdir.train_state import TrainState

Logs = MutableMapping[str, Any]


class HistoryLog(keras.callbacks.Callback):
    """Adds a row to the train state at each epoch's end, and writes all rows to a history.csv."""

    def __init__(
        self,
        state: TrainState,
        path: Path | None,
        *,
        images_per_epoch: int,
        learning_rate: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._state = state
        self._path = path
        self._images_per_epoch = images_per_epoch
        self._learning_rate = learning_rate
        self._clock = clock

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Starts the epoch's clock, or goes on with it after a resume."""
        self._start = self._clock() - self._state.seconds

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Counts the step and its time."""
        self._state.step += 1
        self._state.seconds = self._clock() - self._start

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Adds the row."""
        own = {
            "epoch": epoch + 1,
            "step": self._state.step,
            "learning_rate": self._learning_rate(),
            "images_per_second": self._images_per_epoch / max(self._state.seconds, 1e-9),
            "seconds": self._clock() - self._start,
        }
        measured = [column for column in history.COLUMNS if column not in own]
        # NaN where nothing validates.
        row = own | {column: float(logs.get(column, math.nan)) for column in measured}
        self._state.history.append(row)
        self._state.seconds = 0.0
        if self._path:
            history.write(self._path, self._state.history)
