"""Validation at the end of an epoch."""

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import keras


class Validation(keras.callbacks.Callback):
    """Adds what an evaluation finds, val_loss and others, to an epoch's logs.

    Each example counts exactly once. Keras's own validation would average padded batches, and
    replicas with unequal numbers of rows, wrongly.
    """

    def __init__(self, evaluate: Callable[[], Mapping[str, float]]) -> None:
        super().__init__()
        self._evaluate = evaluate

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, Any]) -> None:
        """Evaluates, and adds the figures to the logs."""
        logs.update(self._evaluate())
