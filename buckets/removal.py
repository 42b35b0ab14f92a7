"""Copies that somebody removes while they are in use, or a tool that clears caches."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from buckets.failures import BucketError


class VanishedError(RuntimeError):
    """A copy is gone that was in use: one line for a person."""


def vanished(path: Path, url: str) -> VanishedError:
    """Returns what to say of a copy that is gone, and of what it was one."""
    return VanishedError(
        "A copy of what lies in a bucket vanished from this machine while it was in use. "
        f"Received: {path}, from {url}. Nothing in the bucket is lost: start the same command "
        "again."
    )


@contextlib.contextmanager
def noticed(root: Path, url: str) -> Iterator[None]:
    """Says so where a folder is removed that is being worked in: all that is written there fails.

    Args:
        root: The folder; made where there is none.
        url: What it is a copy of.

    Raises:
        VanishedError: in place of whatever went wrong, if the folder is gone, or is a new one.
    """
    from buckets.lease import LostLeaseError  # Brings what repeats requests.

    root.mkdir(parents=True, exist_ok=True)
    folder = os.open(root, os.O_RDONLY)  # While it is open, no other folder is taken for it.
    try:
        yield
    except (BucketError, LostLeaseError, VanishedError):
        raise
    except Exception as error:
        if not (_is_gone(folder, root) or _misses_file(error, root)):
            raise
        raise vanished(root, url) from error
    finally:
        os.close(folder)


def _is_gone(folder: int, root: Path) -> bool:
    """Whether the folder that is open is no longer where it was."""
    try:
        return not os.path.samestat(os.fstat(folder), root.stat())
    except OSError:
        return True


def _misses_file(error: Exception, root: Path) -> bool:
    """Whether a file of the copy could be neither read nor written: its folder was removed."""
    return isinstance(error, FileNotFoundError) and Path(error.filename or "").is_relative_to(root)
