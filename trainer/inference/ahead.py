"""Does slow work in a few threads, ahead of whoever takes what comes of it, in order."""

import concurrent.futures
import functools
import itertools
import queue
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Generic, TypeVar

_AT_ONCE = 8
_BYTES = 32 * 2**20  # That are held, or under way, beside the one that is waited for.

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

Room = Callable[[int], None]
"""Waits until there is room for so many bytes, which are held until the result was taken."""


def ahead(
    work: Callable[[_Item, Room], _Result], items: Sequence[_Item]
) -> Generator[Callable[[], _Result]]:
    """Yields for each item, in order, what returns or raises as `work` did.

    A result was taken once the next is asked for.

    Args:
        work: Is called in threads, which end with the process, with an item and with what it calls
            before it takes memory.
        items: What it is called with.
    """
    window = _Window(work, items)
    for _ in range(min(_AT_ONCE, len(items))):
        # Not a pool's: Python does not end before those have.
        threading.Thread(target=window.fill, daemon=True).start()
    try:
        for _ in items:
            yield window.begun.get().result
            window.drop()
    finally:
        window.close()


class _Window(Generic[_Item, _Result]):
    """What is done, or under way, and not yet taken.

    Items are begun in their order, and the first that is not taken always has room: so whoever
    waits for it gets it.

    Attributes:
        begun: The outcomes in order, as soon as they are under way.
    """

    def __init__(self, work: Callable[[_Item, Room], _Result], items: Sequence[_Item]) -> None:
        self.begun: queue.SimpleQueue[concurrent.futures.Future[_Result]] = queue.SimpleQueue()
        self._work, self._left = work, enumerate(items)
        self._held: dict[int, int] = {}  # {number of an item: bytes}
        self._taken = 0
        self._changed = threading.Condition()

    def fill(self) -> None:
        """Works until nothing is left."""
        while begun := self._begin():
            number, item, outcome = begun
            try:
                room = functools.partial(self._make_room, number)
                outcome.set_result(self._work(item, room))
            except BaseException as error:
                outcome.set_exception(error)

    def _begin(self) -> tuple[int, _Item, "concurrent.futures.Future[_Result]"] | None:
        with self._changed:
            for number, item in itertools.islice(self._left, 1):
                outcome: concurrent.futures.Future[_Result] = concurrent.futures.Future()
                self.begun.put(outcome)
                return number, item, outcome
        return None

    def _make_room(self, number: int, size: int) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: sum(self._held.values()) + size <= _BYTES or number <= self._taken
            )
            self._held[number] = size

    def drop(self) -> None:
        """Takes the memory of the first result that was not taken yet."""
        with self._changed:
            self._held.pop(self._taken, None)
            self._taken += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Begins nothing more, and lets what is under way end."""
        with self._changed:
            self._left = enumerate(())
            self._taken = sys.maxsize
            self._changed.notify_all()
