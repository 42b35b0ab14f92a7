"""What happens around the steps of `fit`: validation, history, checkpoints."""

import csv
import io
import math
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import keras
from etils import epath

from cli.command import PreemptedError
from tfrecords import files
from trainer.distribute.workers import Workers
from trainer.loop.signals import StopSignals
from trainer.workdir.checkpoints import Checkpoints, Progress

Logs = MutableMapping[str, Any]
Clock = Callable[[], float]

HISTORY_COLUMNS = (
    "epoch", "step", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate",
    "images_per_second", "seconds",
)  # fmt: skip


class Validation(keras.callbacks.Callback):
    """Adds val_loss and val_accuracy to an epoch's logs, each example counted exactly once.

    Keras's own validation would average padded batches, and replicas of unequal share, wrongly.
    """

    def __init__(self, evaluate: Callable[[], tuple[float, float]]) -> None:
        super().__init__()
        self._evaluate = evaluate

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Evaluates."""
        logs["val_loss"], logs["val_accuracy"] = self._evaluate()


class HistoryLog(keras.callbacks.Callback):
    """Adds a row to the progress at each epoch's end, and writes all rows to a history.csv."""

    def __init__(
        self,
        progress: Progress,
        path: epath.Path | None,
        *,
        images_per_epoch: int,
        learning_rate: Callable[[], float],
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__()
        self._progress = progress
        self._path = path
        self._images_per_epoch = images_per_epoch
        self._learning_rate = learning_rate
        self._clock = clock

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Starts the epoch's clock, or goes on with it after a resume."""
        self._start = self._clock() - self._progress.seconds

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Counts the step and its time."""
        self._progress.step += 1
        self._progress.seconds = self._clock() - self._start

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Adds the row."""
        row = {
            "epoch": epoch + 1,
            "step": self._progress.step,
            "learning_rate": self._learning_rate(),
            "images_per_second": self._images_per_epoch / max(self._progress.seconds, 1e-9),
            "seconds": self._clock() - self._start,
            "loss": float(logs["loss"]),
            "accuracy": float(logs["accuracy"]),
            "val_loss": float(logs.get("val_loss", math.nan)),  # NaN where nothing validates.
            "val_accuracy": float(logs.get("val_accuracy", math.nan)),
        }
        self._progress.history.append(row)
        self._progress.seconds = 0.0
        if self._path:
            write_history(self._path, self._progress.history)


def write_history(path: epath.Path, history: list[dict[str, float]]) -> None:
    """Writes history.csv: a row an epoch."""
    out = io.StringIO()
    rows = csv.DictWriter(out, HISTORY_COLUMNS, lineterminator="\n")
    rows.writeheader()
    rows.writerows(history)
    files.write_atomically(path, out.getvalue())


class EarlyStopping(keras.callbacks.Callback):
    """Ends the fit once the last epochs were no better than the best one.

    Keras's own keeps its count to itself; the history in a checkpoint says all there is to know.
    """

    def __init__(self, progress: Progress, patience: int | None) -> None:
        super().__init__()
        self._progress = progress
        self._patience = patience

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Decides, once the epoch's row is in the progress."""
        if self._progress.stops_early(self._patience):
            self.model.stop_training = True


class Stopping(keras.callbacks.Callback):
    """Leaves a `predict` between two batches when a signal asks any of the workers to stop."""

    def __init__(self, progress: Progress, *, stop: StopSignals, workers: Workers) -> None:
        super().__init__()
        self._progress = progress
        self._stop = stop
        self._workers = workers

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """What was predicted is lost; the progress is saved already."""
        if self._must_stop():
            raise self._preempted()

    def _must_stop(self) -> bool:
        """Whether any worker was asked to: all stop at the same step."""
        return self._workers.any(self._stop.requested)

    def _preempted(self) -> PreemptedError:
        reason = self._stop.reason or "a signal to another worker"
        return PreemptedError(
            f"Stopped by {reason}; a checkpoint of step {self._progress.step} is written. "
            "Start the same command again to go on."
        )


class Checkpointing(Stopping):
    """Saves at each epoch's end, every so many steps, and when a signal asks to stop.

    Comes last in the list: an epoch's row must be in the progress before it is saved. It is also a
    callback of the validation's `predict`, which may take longer than a signal leaves.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        progress: Progress,
        *,
        every: int | None,
        stop: StopSignals,
        workers: Workers,
    ) -> None:
        super().__init__(progress, stop=stop, workers=workers)
        self._checkpoints = checkpoints
        self._every = every

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Gives an epoch that was cut off the metrics of its first part back; fit reset them."""
        if self._progress.metrics:
            self.model.write_metrics(self._progress.metrics)
            self._progress.metrics = []

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Saves in the middle of an epoch."""
        stops = self._must_stop()
        if stops or (self._every and self._progress.step % self._every == 0):
            self._save_within_epoch()
        if stops:
            raise self._preempted()

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Saves an epoch whose steps are done and whose validation is not."""
        if self._must_stop():
            self._save_within_epoch()
            raise self._preempted()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Saves, the epoch's row included."""
        self._save()
        if self._must_stop():
            raise self._preempted()

    def _save_within_epoch(self) -> None:
        self._progress.metrics = self.model.read_metrics()
        self._save()
        self._progress.metrics = []

    def _save(self) -> None:
        with self._stop.saving:
            if self._workers.is_chief:
                self._checkpoints.save(self.model, self._progress)
            self._workers.wait()  # The others may end or read it next.


def end_epoch(model: keras.Model, epoch: int, around: Sequence[keras.callbacks.Callback]) -> None:
    """Does what is left of an epoch that was stopped between its last step and its row."""
    with model.distribute_strategy.scope():
        every = keras.callbacks.CallbackList(around, model=model)
        every.on_train_begin()
        every.on_epoch_begin(epoch)
        every.on_epoch_end(epoch, model.get_metrics_result())
        every.on_train_end()
