"""Opens the files of photographs, so that none of them can block or break a build."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tfrecords.unusable import UnavailableImageError, UnusableImageError

MAX_BYTES = 2**30  # No format needs more for as many pixels as are allowed.

# Errors of the process or its machine, which every other photograph would meet too.
_NOT_OF_ONE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)
_NOT_TO_BE_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@contextmanager
def open_original(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a photograph's file, without a buffer: it is read all at once.

    Raises:
        UnusableImageError: if it is no regular file: reading from a pipe or a device may never end.
        UnavailableImageError: if its disk, its folder or its links keep it from being read.
        OSError: if it is not there, or a folder, or if no file at all can be opened.
    """
    try:
        _check(path)
        with Path(path).open("rb", buffering=0) as file:
            yield file
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise
    except OSError as error:
        if error.errno is None or error.errno in _NOT_OF_ONE_FILE:
            raise
        raise UnavailableImageError(f"cannot be read: {os.strerror(error.errno)}") from error


def read_original(path: str | Path) -> bytes:
    """Returns the bytes of a photograph's file.

    Raises:
        UnusableImageError: as `open_original` does.
        OSError: the same.
    """
    with open_original(path) as file:
        return file.read()


def _check(path: str | Path) -> None:
    try:
        status = Path(path).stat()
    except ValueError as error:  # A NUL, or half of a character.
        raise UnusableImageError("cannot be read: no file can have this name") from error
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise UnusableImageError("cannot be read: not a regular file")
    require_size(status.st_size)


def require_size(size: int) -> None:
    """Refuses a file that is larger than photographs are.

    Raises:
        UnusableImageError: if it has too many bytes.
    """
    if size > MAX_BYTES:
        raise UnusableImageError(f"too large: {size} bytes, at most {MAX_BYTES} are allowed")


def is_text(name: str) -> bool:
    """Whether a file's name can be written as UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(name: str) -> str:
    r"""Returns a file's name on one line of text: `caf\xe9.jpg` for a byte that is not UTF-8."""
    return _NOT_TO_BE_SHOWN.sub(_escape, name)


def _escape(character: re.Match[str]) -> str:
    code = ord(character[0])
    if 0xDC80 <= code <= 0xDCFF:  # How Python keeps a byte that is not UTF-8.
        return f"\\x{code - 0xDC00:02x}"
    return character[0].encode("unicode_escape").decode()
