"""Keeps two builds out of one folder, and lets the tasks of one build share it."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path, PurePath

from cli import lock

_SUFFIX = ".lock"
_FOLDER = f"folder{_SUFFIX}"


@contextlib.contextmanager
def hold(
    directory: Path, task_index: int | None = None, named: str | None = None
) -> Iterator[None]:
    """Holds a folder: all of it, or for one task beside others.

    Args:
        directory: Where the lock files are. They are never deleted, since tasks start and end
            while others hold theirs.
        task_index: The task, which may run once at a time beside others; None holds the folder
            alone.
        named: What a person knows the folder as; None: its path.

    Raises:
        RuntimeError: if another process holds it, with its host and process id.
    """
    whole = directory / _FOLDER

    def refuse(path: Path) -> str:
        return refusal(named or str(directory), _holders(path))

    with contextlib.ExitStack() as held:
        held.enter_context(lock.hold(whole, refuse, shared=task_index is not None))
        if task_index is not None:
            held.enter_context(lock.hold(directory / f"task-{task_index}{_SUFFIX}", refuse))
        yield


@contextlib.contextmanager
def turn(directory: Path) -> Iterator[None]:
    """Lets one task at a time into the block, for work on files that all tasks share."""
    with (directory / f"turn{_SUFFIX}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_lock(path: PurePath) -> bool:
    """Whether this is one of the files of `hold`."""
    return path.suffix == _SUFFIX


def refusal(named: str, holder: str) -> str:
    """What to tell a person of a folder that somebody else holds."""
    return (
        f"Another build is at work. Received: {named}, in use by {holder}. "
        "Wait for it, end it, or name another --data_dir."
    )


def _holders(path: Path) -> str:
    """Names who holds a lock; tasks share the folder's lock and sign their own."""
    shared_by = [p for p in sorted(path.parent.glob(f"task-*{_SUFFIX}")) if lock.is_held(p)]
    return "; ".join(map(lock.holder, shared_by or [path]))
