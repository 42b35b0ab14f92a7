"""Reads photographs as a build would have stored them, wherever they come from."""

import contextlib
import functools
import io
import os
from collections.abc import Callable, Generator, Sequence

import numpy as np

from buckets import urls
from cli import paths
from tfrecords import images, originals
from tfrecords.unusable import UnusableImageError

Photograph = str | os.PathLike[str] | bytes | np.ndarray
"""A path or a URL, the bytes of a file, or RGB, uint8 [height, width, 3]."""


def read(photograph: Photograph, image_size: int) -> bytes:
    """Returns the JPEG that an example of a photograph would hold.

    Args:
        photograph: Of any format that a build reads.
        image_size: Upper bound of its short side in pixels; 0: it keeps its size.

    Raises:
        UnusableImageError: if it is no photograph, or has too many pixels: with the reason.
        OSError: if its file cannot be read.
        ValueError: if it is an array of another kind, or a path that can be none.
        BucketError: if its bucket cannot be read.
        RuntimeError: if the client of its bucket's scheme is not installed.
    """
    if isinstance(photograph, np.ndarray):
        return images.store_jpeg(_lossless(photograph), image_size)
    if isinstance(photograph, bytes):
        return images.store_jpeg(photograph, image_size)
    path = paths.expand(os.fspath(photograph), urls.SCHEMES)
    if not urls.is_remote(path):
        return images.store_jpeg(originals.read_original(path), image_size)
    from trainer.inference.objects import Objects  # Brings what repeats requests: for buckets.

    return images.store_jpeg(Objects().read(path), image_size)


def fetched(photographs: Sequence[Photograph]) -> Generator[Callable[[], Photograph]]:
    """Yields for each photograph, in order, what returns it in a form that `read` takes.

    Those in buckets are read ahead, and not many of them are kept: each is to be asked for before
    the next is taken. What is wrong with one is raised by then, as by `read`.
    """
    remote = [url for each in photographs if (url := _url_of(each))]
    with contextlib.ExitStack() as stack:
        if remote:
            contents = stack.enter_context(contextlib.closing(_contents(remote)))
        for each in photographs:
            yield next(contents) if _url_of(each) else functools.partial(_as_it_is, each)


def _contents(remote: Sequence[str]) -> Generator[Callable[[], bytes]]:
    from trainer.inference.ahead import ahead
    from trainer.inference.objects import Objects

    objects = Objects()
    return ahead(lambda url, room: objects.read(paths.expand(url, urls.SCHEMES), room), remote)


def _as_it_is(photograph: Photograph) -> Photograph:
    return photograph


def _url_of(photograph: Photograph) -> str | None:
    path = os.fspath(photograph) if isinstance(photograph, str | os.PathLike) else ""
    return path if urls.is_remote(path) else None


def complaint(name: str, error: Exception) -> str:
    """Returns what is wrong with a photograph that `read` refused, and what to do, on one line.

    Args:
        name: Its path or URL, as it is shown.
        error: What `read` raised.
    """
    if isinstance(error, UnusableImageError):
        return f"{error}. Give a photograph, such as a JPEG or a PNG."
    if isinstance(error, IsADirectoryError):
        return f"{error.strerror}. Give {name.rstrip('/')}/* for the photographs in it."
    if isinstance(error, FileNotFoundError) and urls.is_remote(name):
        return f"{error.strerror}. Give the URL of one; with a slash behind, all below it is meant."
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
