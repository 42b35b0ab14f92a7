"""Reads the sizes of photographs from their headers, several at once and without decoding."""

import concurrent.futures
from collections.abc import Sequence

from tfrecords import images, originals
from tfrecords.unusable import UnusableImageError

_NUM_READERS = 4  # Threads: enough to hide the waits of a disk; more wait for the GIL instead.
_JPEG = b"\xff\xd8"
_HEAD = 2**16  # Bytes: nearly every JPEG says its size in them.


def read_sizes(paths: Sequence[str]) -> dict[str, images.Sizes]:
    """Returns {path: sizes}, without what cannot be read: that is rejected where it is decoded."""
    shares = [paths[first::_NUM_READERS] for first in range(_NUM_READERS)]
    with concurrent.futures.ThreadPoolExecutor(_NUM_READERS) as pool:
        found_by = list(pool.map(lambda share: [(path, _read(path)) for path in share], shares))
    return {path: found for share in found_by for path, found in share if found}


def _read(path: str) -> images.Sizes | None:
    try:
        with originals.open_original(path) as file:
            head = file.read(_HEAD)
            sizes = _sizes(head) if head.startswith(_JPEG) else None
            return sizes or _sizes(head + file.read())
    except (OSError, UnusableImageError):
        return None


def _sizes(photograph: bytes) -> images.Sizes | None:
    try:
        return images.sizes(photograph)
    except UnusableImageError:
        return None
