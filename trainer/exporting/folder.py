"""The folder that an export goes to: all of it is there, or nothing."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from tfrecords.files import INCOMPLETE_SUFFIX


@contextlib.contextmanager
def new_folder(output: str) -> Iterator[Path]:
    """Makes a temporary neighbour of a folder, which takes its name at the end.

    Raises:
        ValueError: if something is there already, or if no folder can be made there.
        OSError: if what is written finds no room.
    """
    path = Path(output).resolve()
    _refuse_existing(path, output)
    incomplete = path.with_name(f"{path.name}.{secrets.token_hex(4)}{INCOMPLETE_SUFFIX}")
    made = _missing_parents(path)
    try:
        incomplete.mkdir(parents=True)
    except OSError as error:
        _remove(incomplete, made)
        raise ValueError(
            f"The folder of the export cannot be made: {error.strerror}. Received: "
            f"output={output}. Name another --output."
        ) from error
    try:
        yield incomplete
        _refuse_existing(path, output)
        incomplete.rename(path)
    except BaseException:
        _remove(incomplete, made)
        raise


def _refuse_existing(path: Path, output: str) -> None:
    """An empty folder holds nothing that could be lost."""
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists():
        raise ValueError(
            "The output must not be there yet. Received: "
            f"output={output}. Name another --output, or remove it."
        )


def _missing_parents(path: Path) -> list[Path]:
    """The folders above it that are made for it, the lowest first."""
    return [parent for parent in path.parents if not parent.exists()]


def _remove(incomplete: Path, made: list[Path]) -> None:
    shutil.rmtree(incomplete, ignore_errors=True)
    for parent in made:
        with contextlib.suppress(OSError):  # Somebody else has put something there since.
            parent.rmdir()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says of TensorFlow's errors of writing what the system would have said.

    Raises:
        OSError: if the disk is full, or if the file cannot be written.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    except (tf.errors.OpError, OSError) as error:
        if isinstance(error, OSError) and error.filename:
            raise
        code = getattr(error, "errno", None) or errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error
