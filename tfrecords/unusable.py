"""Errors for images that cannot become examples; the message is the reason."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

_LONGEST_REASON = 200  # Characters: some plug-ins quote what they read.
_ADDRESS = re.compile(
    r"\s*<[^<>]* at 0x[0-9a-f]+>"
)  # An object's address, which differs between processes.


class UnusableImageError(Exception):
    """An image that cannot become an example; the message is the reason."""


class UnavailableImageError(UnusableImageError):
    """An image that a bad disk or full memory hides for now: a later build tries again."""


@contextmanager
def rejecting(what: str) -> Iterator[None]:
    """Turns whatever a decoder raises into a rejection: on damage, plug-ins may raise anything.

    Args:
        what: The reason's first words, such as "cannot be decoded".

    Raises:
        UnusableImageError: with the reason, on one line and the same in every process.
    """
    try:
        yield
    except UnusableImageError:
        raise
    except MemoryError as error:
        raise UnavailableImageError(f"{what}: not enough memory") from error
    except Image.DecompressionBombError as error:
        raise UnusableImageError(f"too large: {_reason(error)}") from error
    except Exception as error:
        raise UnusableImageError(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Returns the message on one short line, after the error's type if it is unclear without it."""
    message = "".join(c if c.isprintable() else " " for c in _ADDRESS.sub("", str(error)))
    message = " ".join(message.split())[:_LONGEST_REASON]
    phrased = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
    if isinstance(error, phrased) and message:
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
