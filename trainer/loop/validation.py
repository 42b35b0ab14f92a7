"""Validation at the end of an epoch."""

from collections.abc import Callable, MutableMapping
from typing import Any

import keras


class Validation(keras.callbacks.Callback):
    """Adds val_loss and val_accuracy to an epoch's logs, each example counted exactly once.

    Keras's own validation would average padded batches, and replicas of unequal share, wrongly.
    """

    def __init__(self, evaluate: Callable[[], tuple[float, float]]) -> None:
        super().__init__()
        self._evaluate = evaluate

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, Any]) -> None:
        """Evaluates."""
        logs["val_loss"], logs["val_accuracy"] = self._evaluate()
