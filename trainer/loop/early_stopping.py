"""Early stopping, decided by the history alone."""

from typing import Any

import keras

from trainer.workdir.train_state import TrainState


class EarlyStopping(keras.callbacks.Callback):
    """Ends the fit once the last epochs were no better than the best one.

    Keras's own keeps its count to itself; the history in a checkpoint says all there is to know.
    """

    def __init__(self, state: TrainState, patience: int | None) -> None:
        super().__init__()
        self._state = state
        self._patience = patience

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Decides, once the epoch's row is in the train state."""
        if self._state.stops_early(self._patience):
            self.model.stop_training = True
