"""Writes a file so that it is either complete under its name or not there."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from etils import epath


@contextmanager
def atomic_writer(path: epath.PathLike) -> Iterator[BinaryIO]:
    """Opens a temporary neighbour of `path`, which takes the name once all bytes are written."""
    path = epath.Path(path)
    incomplete = path.with_name(f"{path.name}.incomplete")
    try:
        with incomplete.open("wb") as file:
            yield file
            if isinstance(file, io.BufferedWriter):  # A local file, no bucket's.
                file.flush()
                os.fsync(file.fileno())  # Or a machine that loses power keeps the name alone.
        incomplete.replace(path)
    except BaseException as error:
        incomplete.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:
            raise OSError(error.errno, error.strerror, str(path)) from error  # A full disk, say.
        raise


def write_atomically(path: epath.PathLike, content: bytes | str) -> None:
    """Writes bytes, or text as UTF-8."""
    with atomic_writer(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
