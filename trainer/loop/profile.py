"""Profiles some steps of a run, for TensorBoard to show."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from trainer.workdir.train_state import TrainState


class Profile(keras.callbacks.Callback):
    """Writes what the host and the devices did in some steps, counted from the run's first, 1.

    Keras's TensorBoard callback counts from the first step of each `fit`, of which a run that is
    resumed has several. Comes after what counts the train state's steps.

    Args:
        steps: The first and the last of them.
        directory: Where TensorBoard looks.
    """

    def __init__(self, state: TrainState, steps: tuple[int, int], directory: Path) -> None:
        super().__init__()
        self._state = state
        self._first, self._last = steps
        self._directory = directory
        self._step: tf.profiler.experimental.Trace | None = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Starts, or goes on with the next step."""
        step = self._state.step + 1
        if not self._first <= step <= self._last:
            return
        if self._step is None:
            tf.profiler.experimental.start(str(self._directory))
        self._step = tf.profiler.experimental.Trace("train", step_num=step, _r=1)
        self._step.__enter__()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends the step, and the profile after the last one."""
        if self._step is not None:
            self._step.__exit__(None, None, None)
            if self._state.step == self._last:
                self._stop()

    def on_train_end(self, logs: Any = None) -> None:
        """Ends the profile of a run that has fewer steps."""
        if self._step is not None:
            self._stop()

    def _stop(self) -> None:
        self._step = None
        tf.profiler.experimental.stop()
        print(
            f"Profile of steps {self._first} to {self._state.step}: "
            f"tensorboard --logdir={self._directory}, with tensorboard-plugin-profile installed.",
            flush=True,
        )
