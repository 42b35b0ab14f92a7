"""Keeps two processes out of one folder: a lock that the operating system holds.

So it ends with the process, be it by kill -9, and no program that the process starts keeps it. On a
network file system `flock` reaches other hosts too, where the mount supports it (NFS, Lustre with
`flock`).
"""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

# What a file system without locks says: some network mounts, or FUSE in front of a bucket.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)

Refusal = Callable[[Path], str]


class NoLocksError(OSError):
    """The file system has no locks."""


@contextlib.contextmanager
def hold(path: Path, refusal: Refusal, *, shared: bool = False) -> Iterator[int]:
    """Holds a lock file, which stays where it is; yields its descriptor.

    Args:
        path: The file; it is made where it is missing.
        refusal: Returns, given the file, what to tell a person if another process holds it.
        shared: Whether others that ask for it as shared may hold it too. Only a holder that does
            not share it signs the file.

    Raises:
        RuntimeError: if another process holds it.
        NoLocksError: if the file system has no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(refusal(path)) from None
        except OSError as error:
            kind = NoLocksError if error.errno in _NO_LOCKS else OSError
            raise kind(error.errno, error.strerror, str(path)) from None
        if not shared:
            _sign(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hold_and_remove(path: Path, refusal: Refusal) -> Iterator[None]:
    """Like `hold`, but removes the file at the end, and the folders that were made for it alone.

    Raises:
        RuntimeError: if another process holds it.
        NoLocksError: if the file system has no locks.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with hold(path, refusal) as descriptor:
            if not _is_still_at(path, descriptor):  # Its last holder removed what we had opened.
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                _remove_empty(made)
            return


def holder(path: Path) -> str:
    """Who signed a lock file."""
    return path.read_text() or "a process that just started"


def is_held(path: Path) -> bool:
    """Whether a process holds it."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _sign(descriptor: int) -> None:
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on host {socket.gethostname()}".encode(), 0)


def _is_still_at(path: Path, descriptor: int) -> bool:
    """Whether a path is of the very file that was opened, and not of none or of a newer one."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_empty(folders: list[Path]) -> None:
    """Removes folders, the innermost first, up to one that holds something."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
