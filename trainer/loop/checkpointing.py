"""When a run is saved, and when it stops: at a signal, between two batches."""

from typing import Any, NoReturn

import keras

from cli.command import PreemptedError
from trainer.distribute.workers import Workers
from trainer.loop.signals import StopSignals
from trainer.workdir import mirror
from trainer.workdir.checkpoints import Checkpoints
from trainer.workdir.train_state import TrainState


class Stopping(keras.callbacks.Callback):
    """Leaves a `predict` between two batches when a signal asks any of the workers to stop."""

    def __init__(self, state: TrainState, *, stop: StopSignals, workers: Workers) -> None:
        super().__init__()
        self._state = state
        self._stop = stop
        self._workers = workers

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """What was predicted is lost; the train state is saved already."""
        if self._must_stop():
            raise self._preempted()

    def _must_stop(self) -> bool:
        """Whether any worker was asked to: all stop at the same step."""
        return self._workers.any(self._stop.requested)

    def _preempted(self) -> PreemptedError:
        reason = self._stop.reason or "a signal to another worker"
        where = " on this machine" if mirror.is_put_up_by_another() else ""
        return PreemptedError(
            f"Stopped by {reason}; a checkpoint of step {self._state.step} is written{where}. "
            "Start the same command again to go on."
        )


class Checkpointing(Stopping):
    """Saves at each epoch's end, every so many steps, and when a signal asks to stop.

    What it saves is written beside the next steps; before it stops a run, it waits until it is.

    Comes last in the list: an epoch's row must be in the train state before it is saved. It is
    also a callback of the validation's `predict`, which may take longer than a signal leaves.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        state: TrainState,
        *,
        every: int | None,
        stop: StopSignals,
        workers: Workers,
    ) -> None:
        super().__init__(state, stop=stop, workers=workers)
        self._checkpoints = checkpoints
        self._every = every
        self._saved = state.step

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Gives an epoch that was cut off the metrics of its first part back; fit reset them."""
        if self._state.metrics:
            self.model.write_metrics(self._state.metrics)
            self._state.metrics = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves in the middle of an epoch."""
        self._checkpoints.check()
        stops = self._must_stop()
        if stops or (self._every and self._state.step % self._every == 0):
            self._save_within_epoch()
        if stops:
            self._stop_run()

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves an epoch whose steps are done and whose validation is not."""
        if self._must_stop():
            self._save_within_epoch()
            self._stop_run()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves, the epoch's row included."""
        self._save()
        if self._must_stop():
            self._stop_run()

    def save_what_is_done(self) -> None:
        """Saves the steps since the last checkpoint, where no more can follow."""
        if self._state.step != self._saved:
            self._save_within_epoch()
        if self._stop.requested and self._state.step:
            self._stop_run()
        self._checkpoints.wait()

    def _save_within_epoch(self) -> None:
        self._state.metrics = self.model.read_metrics()
        self._save()
        self._state.metrics = []

    def _save(self) -> None:
        if not self._workers.is_chief:
            return
        self._checkpoints.wait()
        self._stop.saving.acquire()  # The end of the grace waits for it from here on.
        try:
            self._checkpoints.begin(
                self.model,
                self._state,
                written=self._stop.saving.release,
                in_haste=lambda: self._stop.requested,
            )
        except BaseException:
            self._stop.saving.release()
            raise
        self._saved = self._state.step

    def _stop_run(self) -> NoReturn:
        with self._stop.saving:  # Which is free once what was begun is written.
            self._checkpoints.wait()
            self._workers.wait()  # The others may end now.
        raise self._preempted()
