"""Maps a function over independent pieces of work: in this process, or in a pool of processes."""

import concurrent.futures
import errno
import functools
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, TypeVar

from absl import logging

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

Item = TypeVar("Item")
Result = TypeVar("Result")

# Ctrl-C, and the end of a terminal, reach the whole process group; only the parent acts on them.
_TO_THE_GROUP = (signal.SIGINT, signal.SIGHUP)

# The path of a socket has 107 bytes at most, of which multiprocessing takes 32 for its own names.
_LONGEST_FOLDER = 75
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")

# In a worker: one event, which its parent sets once no more items are to start.
_stopping: "list[Event]" = []


def prepare() -> None:
    """Starts the fork server, the process that workers are forked from, so that it is ready early.

    Workers are not forked from this process, whose threads may hold locks that a copy would wait
    for. The fork server imports once, for all workers, what this process has imported so far. Does
    nothing where this machine cannot have workers.
    """
    if _obstacle():
        return
    imported = [name for name in sys.modules if name.startswith("data_prep.")]
    multiprocessing.get_context("forkserver").set_forkserver_preload(imported)
    # A process that is started with a signal blocked keeps it blocked, and so prints no traceback
    # out of the middle of its imports.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TO_THE_GROUP)
    try:
        multiprocessing.resource_tracker.ensure_running()  # It unblocks Ctrl-C.
        signal.pthread_sigmask(signal.SIG_BLOCK, _TO_THE_GROUP)
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run(
    function: Callable[[Item], Result], items: Sequence[Item], num_workers: int
) -> Iterator[Result]:
    """Yields results as they come, in no particular order.

    Args:
        function: Its module should not import TensorFlow, which costs each worker two seconds.
        items: Pieces of work. They and the results cross processes, so both should be small.
        num_workers: Number of processes; with 1, or where a machine can have no more, all work is
            done in this one.

    Raises:
        RuntimeError: if a worker is killed. What the function raises is raised here, once the items
            under way have ended.
    """
    if num_workers > 1 and len(items) > 1 and (obstacle := _obstacle()):
        logging.warning("All is done in one process, as several cannot start here: %s.", obstacle)
        num_workers = 1
    if num_workers == 1 or len(items) <= 1:
        yield from map(function, items)
        return
    prepare()
    context = multiprocessing.get_context("forkserver")
    stopping = context.Event()
    with concurrent.futures.ProcessPoolExecutor(
        min(num_workers, len(items)), context, initializer=_follow_parent, initargs=(stopping,)
    ) as pool:
        futures = [pool.submit(_unless_stopping, function, item) for item in items]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"A worker process was killed. Received: num_workers={num_workers}. If memory was "
                "short, take fewer. Start the same command again: finished work is kept."
            ) from error
        except BaseException:
            stopping.set()  # Items are handed out ahead, and those can no longer be cancelled.
            pool.shutdown(wait=True, cancel_futures=True)  # Items under way end; no more start.
            raise


@functools.cache
def _obstacle() -> str | None:
    """Returns what keeps this machine from having worker processes; None if nothing does."""
    try:
        multiprocessing.get_context("fork").Lock()  # Needs no other process to look after it.
    except OSError as error:
        return f"there are no semaphores, which are in /dev/shm ({error.strerror})"
    try:
        _choose_folder()
    except OSError as error:
        return f"there is no folder for a socket ({error.strerror})"
    return None


def _choose_folder() -> None:
    """Lets multiprocessing create its folder where the path of a socket is short enough."""
    before = tempfile.gettempdir()
    if len(os.fsencode(before)) > _LONGEST_FOLDER:
        short = [folder for folder in _SHORT_FOLDERS if os.access(folder, os.W_OK)]
        if not short:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), before)
        tempfile.tempdir = short[0]
    try:
        multiprocessing.util.get_temp_dir()  # It stays with the first.
    finally:
        tempfile.tempdir = before


def _unless_stopping(function: Callable[[Item], Result], item: Item) -> Result:
    """What a worker does with an item."""
    if _stopping[0].is_set():
        raise concurrent.futures.CancelledError
    return function(item)


def _follow_parent(stopping: "Event") -> None:
    """Lets a worker end when its parent says so, or when its parent is killed."""
    _stopping.append(stopping)
    for number in _TO_THE_GROUP:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends an orphaned worker, which would wait for ever, or write beside the next build's."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
