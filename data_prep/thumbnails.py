"""Small pictures of examples, and of what is left of photographs that were rejected."""

import io
from pathlib import Path
from typing import NamedTuple

import simplejpeg
from markupsafe import Markup
from PIL import Image

from cli import page
from data_prep import shards
from data_prep.shards import ExampleSpec
from tfrecords import images
from tfrecords.schema import Object

_SIDE = 160  # Pixels, half as much again as shown, for dense screens.
_LONGEST = 3 * _SIDE
_QUALITY = 75


class Thumbnail(NamedTuple):
    """A picture and what stands in it.

    Attributes:
        image: Its address.
        size: (width, height) in pixels.
        objects: Every instance of the classes, in shares of the picture.
    """

    image: Markup
    size: tuple[int, int]
    objects: list[Object]


def of_example(example: ExampleSpec) -> Thumbnail:
    """Shows what the example stores.

    Raises:
        UnusableImageError: if it cannot be decoded.
    """
    photograph = Path(example.path).read_bytes()
    objects, crop = shards.place(example, photograph)
    stored = images.store_jpeg(photograph, _SIDE, crop)
    return _thumbnail(images.decode(stored), objects)


def of_rejected(path: Path) -> Thumbnail | None:
    """Shows as much as can be decoded; None where that is nothing."""
    try:
        photograph = path.read_bytes()
        return _thumbnail(images.decode(photograph, _SIDE), [])
    except OSError:
        return None
    except images.UnusableImageError:
        return _remains(photograph)


def _remains(photograph: bytes) -> Thumbnail | None:
    """Of a JPEG that was cut off, the part that is there."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(photograph, strict=False)
        if height * width > images.MAX_PIXELS:
            return None
        pixels = simplejpeg.decode_jpeg(photograph, "RGB", strict=False)
    except ValueError:
        return None
    return _thumbnail(images.shrink(pixels, _SIDE), [])


def _thumbnail(pixels: images.Pixels, objects: list[Object]) -> Thumbnail:
    image, out = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((_LONGEST, _SIDE))
    image.save(out, "JPEG", quality=_QUALITY)
    return Thumbnail(page.jpeg(out.getvalue()), image.size, objects)
