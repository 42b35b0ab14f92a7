"""Fetches many files at once, and lets one process at a time fetch into a folder."""

import concurrent.futures
import fcntl
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from cli.progress import Progress

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def several_at_once(
    fetch: Callable[[_Item], _Result],
    items: Sequence[_Item],
    at_once: int,
    *,
    unit: str = "photographs",
    stop: Callable[[], object] = lambda: None,
) -> Generator[_Result]:
    """Yields what `fetch` returns for each item, in no particular order, and shows how far it is.

    Args:
        fetch: Is called in a thread.
        at_once: How many threads there are.
        unit: What is counted.
        stop: Is called at the end, whatever ends it, before the calls under way are waited for.
    """
    pool = concurrent.futures.ThreadPoolExecutor(at_once)
    try:
        futures = [pool.submit(fetch, item) for item in items]
        with Progress(len(futures), unit) as progress:
            for future in concurrent.futures.as_completed(futures):
                progress.add(1)
                yield future.result()
    finally:
        stop()
        pool.shutdown(cancel_futures=True)


@contextmanager
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
