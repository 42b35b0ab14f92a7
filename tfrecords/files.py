"""Writes a file so that it is either complete under its name or not there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

INCOMPLETE_SUFFIX = ".incomplete"


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a temporary neighbour of `path`, which takes the name once all bytes are written.

    The neighbour's name is random, so that several processes may write one path at once: tasks that
    share a folder, an engine that runs a slow task twice, a worker that outlives its killed parent
    by a moment. The last to finish wins.
    """
    path = Path(path)
    incomplete = path.with_name(f"{path.name}.{secrets.token_hex(4)}{INCOMPLETE_SUFFIX}")
    try:
        with incomplete.open("wb") as file:
            yield file
        incomplete.replace(path)
    except BaseException as error:
        incomplete.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:
            raise OSError(error.errno, error.strerror, str(path)) from error  # A full disk, say.
        raise


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Writes bytes, or text as UTF-8, completely or not at all."""
    with atomic_writer(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def remove_incomplete(directory: Path, name: str = "*") -> None:
    """Removes what killed writers left below a folder; `name` may be a pattern.

    To be called only when nobody is writing there.
    """
    for path in directory.rglob(f"{name}.{'[0-9a-f]' * 8}{INCOMPLETE_SUFFIX}"):
        path.unlink(missing_ok=True)
