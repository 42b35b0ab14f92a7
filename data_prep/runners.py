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
from typing import TypeVar

from absl import logging

Item = TypeVar("Item")
Result = TypeVar("Result")

# Ctrl-C, and the end of a terminal, reach the whole process group: what they mean the parent alone
# decides.
_TO_THE_GROUP = (signal.SIGINT, signal.SIGHUP)

# The path of a socket has 107 bytes at most, of which multiprocessing takes 32 for its own names.
_LONGEST_FOLDER = 75
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


def prepare() -> None:
    """Starts the process that workers are forked from, so that it gets ready meanwhile.

    They are not forked from this one, whose threads may hold locks that a copy would wait for. The
    other imports what this one has imported by now, once for all workers. Does nothing where this
    machine cannot have workers.
    """
    if _obstacle():
        return
    imported = [name for name in sys.modules if name.startswith("data_prep.")]
    multiprocessing.get_context("forkserver").set_forkserver_preload(imported)
    # A process that is started deaf to a signal stays so, and does not say where among its imports
    # it was.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TO_THE_GROUP)
    try:
        multiprocessing.resource_tracker.ensure_running()  # It ends the deafness to Ctrl-C.
        signal.pthread_sigmask(signal.SIG_BLOCK, _TO_THE_GROUP)
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
        num_workers: Processes; 1 works in this one, as does a machine that cannot have more.

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
    """Lets multiprocessing make its folder where the path of a socket in it is not too long."""
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


def _follow_parent() -> None:
    """Lets a worker end when the parent says so, or with it where it is killed."""
    for number in _TO_THE_GROUP:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker left alone would wait for work for ever, and write beside the next build's."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
