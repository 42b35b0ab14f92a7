"""What a person sees of a fit: a bar on a terminal, a line a period elsewhere, a line an epoch."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from tqdm import tqdm

from cli import progress
from trainer.workdir.train_state import TrainState

_IN_A_LINE = ("loss", "accuracy", "val_loss", "val_accuracy")  # TensorBoard has the rest.


class Display(keras.callbacks.Callback):
    """Shows it. Comes after the callbacks that add a step, or an epoch's row, to the train state.

    Args:
        epochs: How many the whole run has.
        batch_size: The global one.
        period: Seconds between two lines within an epoch, where no terminal shows a bar.
        clock: Counts seconds.
    """

    def __init__(
        self,
        state: TrainState,
        *,
        epochs: int,
        steps_per_epoch: int,
        batch_size: int,
        period: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._state = state
        self._epochs = epochs
        self._steps = steps_per_epoch
        self._batch_size = batch_size
        self._period = period
        self._clock = clock
        self._start, self._first_step = clock(), state.step
        self._bar: progress.Progress | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the epoch's bar, or goes on with it after a resume."""
        self._bar = progress.Progress(
            self._steps * self._batch_size,
            "images",
            done=(self._state.step - epoch * self._steps) * self._batch_size,
            title=f"epoch {epoch + 1}/{self._epochs}",
            period=self._period,
            clock=self._clock,
        )

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any]) -> None:
        """Counts the step's images."""
        assert self._bar
        self._bar.say(in_words(logs))
        self._bar.add(self._batch_size)
        if self._state.step % self._steps == 0:
            self.close()  # Validation has a bar of its own.

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Prints the epoch's line."""
        self.close()
        row = self._state.history[-1]
        parts = [f"epoch {epoch + 1}/{self._epochs}: {in_words(logs)}"]
        parts.append(f"{row['images_per_second']:.1f} images/s")
        best = self._state.best
        if best and not math.isnan(best["val_loss"]):
            parts.append(f"best so far: epoch {best['epoch']:.0f}, {in_words(best, ['val_loss'])}")
        print("; ".join(parts + self._time_left()), flush=True)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar:
            self._bar.close()

    def _time_left(self) -> list[str]:
        """Returns the time left, at the speed of this process so far, validation included."""
        done = self._state.step - self._first_step
        left = self._epochs * self._steps - self._state.step
        if not done or not left:
            return []
        return [f"{tqdm.format_interval((self._clock() - self._start) * left / done)} left"]


def in_words(logs: Mapping[str, Any], names: Sequence[str] = _IN_A_LINE) -> str:
    """Returns figures as `loss 0.4123, accuracy 86.2%`; those that there are, in this order."""
    return ", ".join(
        f"{name} {logs[name]:.1%}" if name.endswith("accuracy") else f"{name} {logs[name]:.4g}"
        for name in names
        if name in logs
    )
