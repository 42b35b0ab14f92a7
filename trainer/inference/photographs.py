"""Reads photographs as a build would have stored them, wherever they come from."""

import io
import os

import numpy as np

from cli import paths
from tfrecords import images, originals
from tfrecords.unusable import UnusableImageError

Photograph = str | os.PathLike[str] | bytes | np.ndarray
"""A path, the bytes of a file, or RGB, uint8 [height, width, 3]."""


def read(photograph: Photograph, image_size: int) -> bytes:
    """Returns the JPEG that an example of a photograph would hold.

    Args:
        photograph: Of any format that a build reads.
        image_size: Upper bound of its short side in pixels; 0: it keeps its size.

    Raises:
        UnusableImageError: if it is no photograph, or has too many pixels: with the reason.
        OSError: if its file cannot be read.
        ValueError: if it is an array of another kind, or a path that can be none.
    """
    if isinstance(photograph, np.ndarray):
        return images.store_jpeg(_lossless(photograph), image_size)
    if isinstance(photograph, bytes):
        return images.store_jpeg(photograph, image_size)
    content = originals.read_original(paths.expand(os.fspath(photograph)))
    return images.store_jpeg(content, image_size)


def complaint(name: str, error: Exception) -> str:
    """Returns what is wrong with a photograph that `read` refused, and what to do, on one line.

    Args:
        name: Its path, as it is shown.
        error: What `read` raised.
    """
    if isinstance(error, UnusableImageError):
        return f"{error}. Give a photograph, such as a JPEG or a PNG."
    if isinstance(error, IsADirectoryError):
        return f"{error.strerror}. Give {name.rstrip('/')}/* for the photographs in it."
    if isinstance(error, OSError):
        return f"{error.strerror}. Give the path of a photograph."
    return str(error)  # Of a path that can be none.


def _lossless(array: np.ndarray) -> bytes:
    """An array as a file, so that it goes the way of every other photograph."""
    from PIL import Image

    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ValueError(
            "An array must be RGB, uint8 [height, width, 3]. Received: "
            f"{array.dtype} {list(array.shape)}."
        )
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG", compress_level=0)
    return out.getvalue()
