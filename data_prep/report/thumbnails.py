"""Draws small pictures of examples, and of what is left of rejected photographs."""

import io
from typing import NamedTuple

from markupsafe import Markup
from PIL import Image

from cli import page
from data_prep import shards
from data_prep.shards import ExampleSpec
from tfrecords import images, originals
from tfrecords.schema import Object
from tfrecords.unusable import UnusableImageError

_SIDE = 160  # Pixels, half as much again as shown, for dense screens.
_LONGEST = 3 * _SIDE
_QUALITY = 75


class Thumbnail(NamedTuple):
    """A picture and what stands in it.

    Attributes:
        image: The picture itself, as the text of a data URL.
        size: (width, height) in pixels.
        objects: Every instance of the classes, in shares of the picture.
    """

    image: Markup
    size: tuple[int, int]
    objects: list[Object]


def draw_example(example: ExampleSpec) -> Thumbnail | None:
    """Draws what the example stores; None if its photograph cannot be read any more."""
    try:
        photograph = originals.read_original(example.path)
        objects, crop = shards.locate_objects(example, photograph)
        stored = images.store_jpeg(photograph, _SIDE, crop)
        return _thumbnail(images.decode(stored), objects)
    except (OSError, UnusableImageError):
        return None


def draw_rejected(path: str) -> Thumbnail | None:
    """Draws as much of a photograph as can be decoded; None if that is nothing."""
    try:
        return _thumbnail(_decode_what_is_there(originals.read_original(path)), [])
    except (OSError, UnusableImageError):
        return None


def _decode_what_is_there(photograph: bytes) -> images.Pixels:
    try:
        return images.decode(photograph, _SIDE)
    except UnusableImageError:
        return images.decode_remains(photograph, _SIDE)


def _thumbnail(pixels: images.Pixels, objects: list[Object]) -> Thumbnail:
    image, out = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((_LONGEST, _SIDE))
    image.save(out, "JPEG", quality=_QUALITY)
    return Thumbnail(page.jpeg(out.getvalue()), image.size, objects)
