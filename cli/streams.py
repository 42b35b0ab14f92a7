"""Standard input and outputs that a command can rely on, whatever it was started with.

A reader that has gone (`| head`), a full disk behind `>` or a stream that was never open must not
cost hours of work, and a character that a terminal cannot show must not end them.
"""

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from absl import logging

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# The reader has gone, as it may: a pipe's, or a terminal that was closed.
_GONE = (errno.EPIPE, errno.EIO)


class _Output(io.FileIO):
    """A file that is written to for as long as that succeeds; then what comes is dropped.

    Attributes:
        failure: The error that ended the writing; None: it goes on.
    """

    failure: OSError | None = None

    def write(self, data: "ReadableBuffer") -> int:
        if self.failure is None:
            try:
                return super().write(data)
            except BlockingIOError:
                raise  # It will go on.
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


def prepare() -> None:
    """Makes this process's standard streams reliable. Calling it again changes nothing."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _open_nothing(number, name)
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)
    logging.get_absl_handler().python_handler.setStream(sys.stderr)


def failure(stream: TextIO) -> OSError | None:
    """Writes what waits, and returns what kept the stream from taking all; a gone reader did not.

    Args:
        stream: One of those that `prepare` has made, or any other.
    """
    stream.flush()
    raw = _raw(stream)
    error = raw.failure if isinstance(raw, _Output) else None
    return None if error is None or error.errno in _GONE else error


def takes_more(stream: TextIO) -> bool:
    """Whether what is printed still arrives: no longer once the reader has gone.

    Args:
        stream: As for `failure`.
    """
    stream.flush()
    raw = _raw(stream)
    return not isinstance(raw, _Output) or raw.failure is None


def _open_nothing(number: int, name: str) -> None:
    """The next file to be opened would else take its number, and what libraries print with it."""
    null = os.open(os.devnull, os.O_RDWR)
    if null == number:
        os.set_inheritable(null, True)
    else:
        os.dup2(null, number)
        os.close(null)
    mode = "w" if number else "r"
    setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _lasting(stream: TextIO) -> TextIO:
    """The same stream, whose writes do not fail; one that is no file of the system's, as it is."""
    raw = _raw(stream)
    if not isinstance(stream, io.TextIOWrapper) or type(raw) is not io.FileIO:
        return stream
    stream.flush()
    output = _Output(raw.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        output if stream.write_through else io.BufferedWriter(output),
        encoding=stream.encoding,
        errors="backslashreplace",  # What a terminal cannot show it shows as a number.
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _raw(stream: TextIO) -> object:
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)
