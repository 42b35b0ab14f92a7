"""Maps a function over independent pieces of work: in this process, or in a pool of processes."""

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prepare() -> None:
    """Starts the process that workers are forked from, so that it gets ready meanwhile.

    They are not forked from this one, whose threads may hold locks that a copy would wait for. The
    other imports what this one has imported by now, once for all workers.
    """
    imported = [name for name in sys.modules if name.startswith("data_prep.")]
    multiprocessing.get_context("forkserver").set_forkserver_preload(imported)
    # Ctrl-C reaches the whole process group. A process that is started deaf to it stays so, and
    # does not say where among its imports it was; the parent alone decides what it means.
    multiprocessing.resource_tracker.ensure_running()  # Its own start would end the deafness.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run(
    function: Callable[[Item], Result], items: Sequence[Item], num_workers: int
) -> Iterator[Result]:
    """Yields results as they come; in which order means nothing.

    Args:
        function: Of a module that imports no TensorFlow, which would cost each worker two seconds.
        items: Pieces of work; only they and the results cross processes, so both should be small.
        num_workers: Processes; 1 works in this one.

    Raises:
        RuntimeError: if a worker is killed. What the function raises is raised here, once the items
            under way have ended.
    """
    if num_workers == 1 or len(items) <= 1:
        yield from map(function, items)
        return
    prepare()
    context = multiprocessing.get_context("forkserver")
    with concurrent.futures.ProcessPoolExecutor(
        min(num_workers, len(items)), context, initializer=_follow_parent
    ) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"A worker process was killed. Received: num_workers={num_workers}. If memory was "
                "short, take fewer. Start the same command again: finished work is kept."
            ) from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)  # Items under way end; no more start.
            raise


def _follow_parent() -> None:
    """Lets a worker end when the parent says so, or with it where it is killed."""
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker left alone would wait for work for ever, and write beside the next build's."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
