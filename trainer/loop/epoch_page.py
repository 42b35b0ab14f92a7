"""The page that shows how a training is going, written anew at the ends of epochs."""

import time
from collections.abc import Callable
from typing import Any

import keras
from absl import logging

_SECONDS_BETWEEN = 10.0
_LARGEST_SHARE = 1 / 20  # Of the time, for writing pages.


class EpochPage(keras.callbacks.Callback):
    """Writes a page at each epoch's end, but where epochs are shorter than it is worth.

    Args:
        write: Writes it.
        clock: Counts seconds.
    """

    def __init__(
        self, write: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._write = write
        self._clock = clock
        self._next = clock() + _SECONDS_BETWEEN

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes it, if it is time."""
        start = self._clock()
        if start >= self._next:
            try:
                self._write()
            except OSError as error:  # A full disk, say: what counts is whether checkpoints fit.
                logging.warning("The page of this epoch was not written: %s.", error)
            end = self._clock()
            self._next = end + max(_SECONDS_BETWEEN, (end - start) / _LARGEST_SHARE)
