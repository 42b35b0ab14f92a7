"""The batcher: the one thread that runs the model, on what waits together."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

BATCH_SIZE = 32


class _Waiting(NamedTuple):
    """A square, uint8 [size, size, 3], and the promise of its probabilities."""

    square: np.ndarray
    row: "Future[np.ndarray]"


class _Task(NamedTuple):
    """Other work with the model, and the promise of its result."""

    work: Callable[[], Any]
    result: "Future[Any]"


class Batcher:
    """One thread that runs the model: at once where it is idle, else on all that came meanwhile.

    So a single photograph waits for nothing but the batch before it, and the more there are, the
    fuller the batches.
    """

    def __init__(
        self,
        compute: Callable[[np.ndarray], np.ndarray],
        observe: Callable[[int], object],
    ) -> None:
        """Starts nothing yet.

        Args:
            compute: From squares, uint8 [n, size, size, 3], to probabilities, [n, num_classes].
            observe: Called with the size of each batch, in the model's thread.
        """
        self._compute = compute
        self._observe = observe
        self._queue: queue.SimpleQueue[_Waiting | _Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends the thread, after what waits: TensorFlow must not be cut off by Python's end."""
        self._queue.put(None)
        self._thread.join()

    @property
    def waiting(self) -> int:
        """How many squares and other works the thread has not taken yet."""
        return self._queue.qsize()

    def submit(self, square: np.ndarray) -> "Future[np.ndarray]":
        """Returns the promise of a square's probabilities, float32 [num_classes]."""
        waiting = _Waiting(square, Future())
        self._queue.put(waiting)
        return waiting.row

    def do(self, work: Callable[[], Any]) -> "Future[Any]":
        """Returns the promise of the result of other work, which the thread does in its turn."""
        task = _Task(work, Future())
        self._queue.put(task)
        return task.result

    def _work(self) -> None:
        left: list[_Task | None] = []  # What stood behind a batch and is no part of it.
        while (first := left.pop() if left else self._queue.get()) is not None:
            if isinstance(first, _Task):
                _do(first)
            else:
                self._run(self._take(first, left))

    def _take(self, first: _Waiting, left: list[_Task | None]) -> list[_Waiting]:
        """Returns what waits by now, at most a batch; what ends it early is left."""
        batch = [first]
        while len(batch) < BATCH_SIZE:
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                break
            if not isinstance(following, _Waiting):
                left.append(following)
                break
            batch.append(following)
        return batch

    def _run(self, batch: list[_Waiting]) -> None:
        wanted = [each for each in batch if each.row.set_running_or_notify_cancel()]
        if not wanted:  # Whoever waited for them has gone.
            return
        self._observe(len(wanted))
        try:
            rows = self._compute(np.stack([each.square for each in wanted]))
        except Exception as error:  # Whatever it is, each of them is told, and the next batch runs.
            for each in wanted:
                each.row.set_exception(error)
            return
        for each, row in zip(wanted, rows, strict=True):
            each.row.set_result(row)


def _do(task: _Task) -> None:
    if not task.result.set_running_or_notify_cancel():  # Whoever waited for it has gone.
        return
    try:
        task.result.set_result(task.work())
    except Exception as error:  # Whatever it is, one is told, and the next work is done.
        task.result.set_exception(error)
