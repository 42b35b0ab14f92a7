"""How far Keras's `predict` is, shown as any other long work."""

from typing import Any

import keras

from cli.progress import Progress


class Counting(keras.callbacks.Callback):
    """Counts the rows that a `predict` is through with, without the padding of the last batch.

    Args:
        progress: What shows them.
        batch_size: The global one, over all replicas.
    """

    def __init__(self, progress: Progress, num_rows: int, batch_size: int) -> None:
        super().__init__()
        self._progress = progress
        self._num_rows = num_rows
        self._batch_size = batch_size

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the batch's rows."""
        self._progress.add(min(self._batch_size, self._num_rows - batch * self._batch_size))
