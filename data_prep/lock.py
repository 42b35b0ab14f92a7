"""Keeps two builds out of one folder, and lets the tasks of one build share it.

The operating system holds the lock, so it ends with the process, be it by kill -9. On a network
file system `flock` reaches other hosts too, where the mount supports it (NFS, Lustre with `flock`).
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_SUFFIX = ".lock"
_FOLDER = f"folder{_SUFFIX}"


@contextlib.contextmanager
def hold(directory: Path, task_index: int | None = None) -> Iterator[None]:
    """Holds a folder: all of it, or for one task beside others.

    Args:
        directory: Where the lock files lie; they stay, since removing one would let two builds hold
            two files of one name.
        task_index: Of a task, which may run once at a time; None: nobody else may build.

    Raises:
        RuntimeError: if another process holds it, with its host and process id.
    """
    whole = directory / _FOLDER
    with contextlib.ExitStack() as held:
        if task_index is None:
            _sign(held.enter_context(_lock(whole, fcntl.LOCK_EX)))
        else:
            held.enter_context(_lock(whole, fcntl.LOCK_SH))
            of_task = directory / f"task-{task_index}{_SUFFIX}"
            _sign(held.enter_context(_lock(of_task, fcntl.LOCK_EX)))
        yield


@contextlib.contextmanager
def turn(directory: Path) -> Iterator[None]:
    """Waits until no other task is inside: for what tasks would else do to the same files."""
    with (directory / f"turn{_SUFFIX}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_lock(path: Path) -> bool:
    """Whether this is one of the files of `hold`."""
    return path.suffix == _SUFFIX


@contextlib.contextmanager
def _lock(path: Path, kind: int) -> Iterator[int]:
    """Yields the descriptor, which workers do not inherit: a killed build's lock ends with it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"Another build is at work. Received: {path.parent}, in use by {_holders(path)}. "
                "Wait for it, end it, or name another --data_dir."
            ) from None
        except OSError as error:  # A file system without locks.
            raise OSError(error.errno, error.strerror, str(path)) from None
        yield descriptor
    finally:
        os.close(descriptor)


def _sign(descriptor: int) -> None:
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on host {socket.gethostname()}".encode(), 0)


def _holders(path: Path) -> str:
    """Who holds a lock; tasks share the folder's and sign their own."""
    shared_by = [p for p in sorted(path.parent.glob(f"task-*{_SUFFIX}")) if _is_held(p)]
    return "; ".join(p.read_text() for p in shared_by or [path]) or "a process that just started"


def _is_held(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
