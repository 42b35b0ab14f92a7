"""Tells trackers of each epoch."""

from typing import Any

import keras

from trainer.tracking.trackers import Trackers
from trainer.workdir.train_state import TrainState


class TrackEpochs(keras.callbacks.Callback):
    """Tells trackers of each epoch's row. Comes after what adds it to the train state."""

    def __init__(self, state: TrainState, trackers: Trackers) -> None:
        super().__init__()
        self._state, self._trackers = state, trackers

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Tells of it."""
        self._trackers.log(self._state.history[-1], step=epoch + 1)
