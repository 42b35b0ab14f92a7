"""Does slow work in a few threads, ahead of whoever takes what comes of it, in order."""

import collections
import concurrent.futures
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Generic, TypeVar

_AT_ONCE = 8
_BYTES_AHEAD = 16 * 2**20  # That nobody has taken yet; what is under way comes on top.

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(
    work: Callable[[_Item], _Result], items: Sequence[_Item]
) -> Generator[Callable[[], _Result]]:
    """Yields for each item, in order, what returns or raises as `work` did.

    Results that are bytes are counted, and not many are kept. Each counts until the next is taken.

    Args:
        work: Is called in threads, which end with the process.
        items: What it is called with.
    """
    window = _Window(work, items)
    for _ in range(min(_AT_ONCE, len(items))):
        # Not a pool's: Python does not end before those have.
        threading.Thread(target=window.fill, daemon=True).start()
    try:
        for _ in items:
            outcome = window.begun.get()
            yield outcome.result
            window.drop(outcome)
    finally:
        window.close()


class _Window(Generic[_Item, _Result]):
    """What is done, or under way, and not yet taken.

    Items are begun in their order, so that the one that is waited for always is.

    Attributes:
        begun: The outcomes in order, as soon as they are under way.
    """

    def __init__(self, work: Callable[[_Item], _Result], items: Sequence[_Item]) -> None:
        self.begun: queue.SimpleQueue[concurrent.futures.Future[_Result]] = queue.SimpleQueue()
        self._work, self._left = work, collections.deque(items)
        self._bytes, self._changed = 0, threading.Condition()

    def fill(self) -> None:
        """Works until nothing is left."""
        while begun := self._begin():
            item, outcome = begun
            try:
                result = self._work(item)
            except BaseException as error:
                outcome.set_exception(error)
            else:
                self._count(_size(result))
                outcome.set_result(result)

    def _begin(self) -> tuple[_Item, "concurrent.futures.Future[_Result]"] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < _BYTES_AHEAD or not self._left)
            if not self._left:
                return None
            outcome: concurrent.futures.Future[_Result] = concurrent.futures.Future()
            self.begun.put(outcome)
            return self._left.popleft(), outcome

    def _count(self, size: int) -> None:
        with self._changed:
            self._bytes += size
            self._changed.notify_all()

    def drop(self, outcome: "concurrent.futures.Future[_Result]") -> None:
        """Makes room, once a result is taken; waits for it where it was not."""
        if outcome.exception() is None:
            self._count(-_size(outcome.result()))

    def close(self) -> None:
        """Begins nothing more."""
        with self._changed:
            self._left.clear()
            self._changed.notify_all()


def _size(result: object) -> int:
    return len(result) if isinstance(result, bytes) else 0
