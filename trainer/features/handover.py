"""Work that is handed over, item by item, from the thread that makes it to one that uses it up."""

import concurrent.futures
import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE = 0.1  # Seconds until it is asked again whether the other thread is still there.


class BrokenOffError(Exception):
    """There will be no more items, and those that came are not all."""


def hand_over(items: Iterable[T], consume: Callable[[Iterator[T]], object]) -> None:
    """Has a thread use items up while this one makes the next; one may wait between them.

    Returns once `consume` has, which need not take all. Where making one fails, `consume` gets a
    BrokenOffError in place of an item, and has ended when the error comes out here.

    Raises:
        Exception: whatever making an item raises, or `consume`.
    """
    waiting: queue.Queue[Any] = queue.Queue(1)
    ended, broken = object(), threading.Event()

    def taken() -> Iterator[T]:
        while (item := waiting.get()) is not ended:
            if broken.is_set():
                break
            yield item
        if broken.is_set():
            raise BrokenOffError

    def put(item: object) -> bool:
        """Returns whether there is still someone to take it."""
        while not consumed.done():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=_PATIENCE)
                return True
        return False

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        consumed = pool.submit(consume, taken())
        try:
            if all(map(put, items)):
                put(ended)
        except BaseException:  # A signal too.
            broken.set()
            put(ended)
            raise
    consumed.result()
