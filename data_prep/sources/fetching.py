"""Fetches many files at once, and lets one process at a time fetch into a folder."""

import collections
import concurrent.futures
import contextlib
import fcntl
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from cli.progress import Progress

_LEAVE_SECONDS = 2.0

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def several_at_once(
    fetch: Callable[[_Item], _Result],
    items: Sequence[_Item],
    at_once: int,
    *,
    unit: str = "photographs",
    stop: Callable[[], object] | None = None,
) -> Generator[_Result]:
    """Yields what `fetch` returns for each item, in no particular order, and shows how far it is.

    Args:
        fetch: Is called in a thread.
        at_once: How many threads there are.
        unit: What is counted.
        stop: Ends the calls under way, which are then waited for, whatever ends this; None: those
            that do not end within 2 s are left behind, and end with the process.
    """
    waiting = collections.deque(items)
    done: queue.SimpleQueue[concurrent.futures.Future[_Result]] = queue.SimpleQueue()

    def work() -> None:
        with contextlib.suppress(IndexError):
            while True:
                done.put(_outcome(fetch, waiting.popleft()))

    # Not a pool's: Python does not end before those have.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(at_once, len(items)))]
    for thread in threads:
        thread.start()
    try:
        with Progress(len(items), unit) as progress:
            for _ in items:
                outcome = done.get()
                progress.add(1)
                yield outcome.result()
    finally:
        waiting.clear()
        _end(threads, stop)


def _outcome(
    fetch: Callable[[_Item], _Result], item: _Item
) -> "concurrent.futures.Future[_Result]":
    outcome: concurrent.futures.Future[_Result] = concurrent.futures.Future()
    try:
        outcome.set_result(fetch(item))
    except BaseException as error:
        outcome.set_exception(error)
    return outcome


def _end(threads: Sequence[threading.Thread], stop: Callable[[], object] | None) -> None:
    if stop:
        stop()  # Without effect where all are done.
    until = time.monotonic() + _LEAVE_SECONDS
    for thread in threads:
        thread.join(None if stop else max(0.0, until - time.monotonic()))


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lets one process at a time fetch into a folder; the kernel drops the lock of a killed one."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".download.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another download into {folder}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
