"""The image inside an example: an upright RGB or grey JPEG, whatever the photograph was.

Building a dataset and predicting on a photograph go through this one function, so a photograph is
seen the same way in both.

JPEGs, nearly all there is, go through libjpeg-turbo and those of OpenCV's ways to shrink whose sums
do not depend on the processor; any other format is decoded by Pillow.
"""

import contextlib
import ctypes
import io
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import PIL
import simplejpeg
from PIL import Image, UnidentifiedImageError

from tfrecords import heif, jpeg
from tfrecords.schema import Box
from tfrecords.unusable import UnusableImageError, rejecting

Pixels = npt.NDArray[np.uint8]
"""Upright RGB, [height, width, 3]; [height, width, 4] with the fourth unused, before encoding."""

JPEG_QUALITY = 92
MAX_PIXELS = 89_478_485  # Pillow's own bound: about a quarter of a GiB of RGB.

_ORIENTATION = 0x0112  # The EXIF tag.
_TURNED = (5, 6, 7, 8)  # Its values that swap width and height.
_MIRRORED_X = (2, 3, 6, 7)  # Those that then mirror left and right.
_MIRRORED_Y = (3, 4, 7, 8)  # Those that then mirror top and bottom.
_CHANGED = range(2, 9)
_LONGEST_SIDE = 65_500  # What a JPEG can hold.
_REDUCED = 2  # A JPEG decoded at a fraction of its size stays so many times larger than needed.

ENCODING = 4  # Raised with every change that stores other bytes for the same photograph.

cv2.setNumThreads(1)  # Photographs are shared out over processes; one is too small to share.


def _silence_pillow() -> None:
    """Silences Pillow and libtiff, which warn of odd files: they are judged here."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    pillow = ctypes.CDLL(Image.core.__file__)
    with contextlib.suppress(AttributeError):  # A Pillow without libtiff.
        pillow.TIFFSetErrorHandler(None)
        pillow.TIFFSetWarningHandler(None)


_silence_pillow()


def encoding() -> str:
    """Returns what decides the stored bytes beside photograph and options: versions and quality."""
    libraries = (PIL, simplejpeg, cv2)
    versions = ", ".join(f"{library.__name__} {library.__version__}" for library in libraries)
    return f"{ENCODING}, quality {JPEG_QUALITY}, {versions}"


def store_jpeg(
    photograph: bytes,
    image_size: int,
    crop: Box | None = None,
    look: Callable[[Pixels], object] | None = None,
) -> bytes:
    """Returns the JPEG that an example stores.

    Args:
        photograph: The file's bytes, in any format that Pillow reads.
        image_size: Upper bound of the short side in pixels; longer ones are shrunk to it, 0 keeps
            the size. A JPEG that already fits is returned as it is, if TensorFlow decodes it.
        crop: What to cut out, in shares of the upright image.
        look: Called with the decoded pixels, which have four channels: shrunk to `image_size`, or
            at full size if there is a crop.

    Raises:
        UnusableImageError: with the reason.
    """
    header = _read_header(photograph)
    pixels, is_sound = _decode(photograph, header, image_size if crop is None else 0, "RGBX")
    if look is not None:
        look(pixels)
    if crop is not None:
        return _encode(shrink(_cut(pixels, crop), image_size))
    fits = not image_size or min(header.width, header.height) <= image_size
    is_upright = header.orientation not in _CHANGED
    if fits and is_upright and _tensorflow_takes(photograph, header, is_sound):
        return photograph
    return _encode(pixels)


def decode(photograph: bytes, image_size: int = 0) -> Pixels:
    """Returns the photograph as it is shown.

    Args:
        photograph: The file's bytes, in any format that Pillow reads.
        image_size: Upper bound of the short side in pixels; longer ones are shrunk to it, 0 keeps
            the size.

    Raises:
        UnusableImageError: with the reason.
    """
    return _decode(photograph, _read_header(photograph), image_size, "RGB")[0]


def decode_stored(image: bytes) -> Pixels:
    """Returns what an example shows, provided that TensorFlow decodes it too.

    Args:
        image: A JPEG, as `store_jpeg` returns it.

    Raises:
        UnusableImageError: with the reason.
    """
    header = _read_header(image)
    pixels, is_sound = _decode(image, header, 0, "RGB")
    if not _tensorflow_takes(image, header, is_sound):
        raise UnusableImageError("TensorFlow cannot decode it")
    return pixels


def decode_remains(photograph: bytes, image_size: int) -> Pixels:
    """Returns as much as is there of a JPEG that was cut off.

    Args:
        photograph: The file's bytes.
        image_size: Upper bound of the short side in pixels; 0 keeps the size.

    Raises:
        UnusableImageError: if nothing is left.
    """
    with rejecting("cannot be decoded"):
        pixels = jpeg.decode_remains(photograph, MAX_PIXELS)
        if pixels is None:
            raise UnusableImageError("nothing is left")
        return shrink(pixels, image_size)


def upright_boxes(
    photograph: bytes, boxes: Sequence[Box], annotated_size: tuple[int, int]
) -> list[Box]:
    """Turns boxes with their image, if they were drawn on it as stored, not as shown.

    Labelling tools show the image upright and write that size; others write the stored size. The
    two can be told apart if EXIF turns the image by 90 degrees.

    Args:
        photograph: The file's bytes; only the header is read.
        boxes: In shares of the annotated image.
        annotated_size: (width, height) of the annotated image, in pixels.

    Raises:
        UnusableImageError: with the reason.
    """
    header = _read_header(photograph)
    size = header.width, header.height
    drawn_on_stored = annotated_size == size and header.width != header.height
    if header.orientation not in _TURNED or not drawn_on_stored:
        return list(boxes)
    return [_turn_box(box, header.orientation) for box in boxes]


class Sizes(NamedTuple):
    """(width, height) of an image in pixels: as its file stores it, and as it is shown."""

    stored: tuple[int, int]
    shown: tuple[int, int]


def sizes(photograph: bytes) -> Sizes:
    """Reads an image's sizes from its header.

    Raises:
        UnusableImageError: with the reason.
    """
    header = _read_header(photograph)
    stored = header.width, header.height
    return Sizes(stored, stored[::-1] if header.orientation in _TURNED else stored)


def _turn_box(box: Box, orientation: int) -> Box:
    """Swaps the axes, then mirrors those that the orientation mirrors."""
    y0, x0, y1, x1 = box.xmin, box.ymin, box.xmax, box.ymax
    if orientation in _MIRRORED_X:
        x0, x1 = 1 - x1, 1 - x0
    if orientation in _MIRRORED_Y:
        y0, y1 = 1 - y1, 1 - y0
    return Box(ymin=y0, xmin=x0, ymax=y1, xmax=x1)


class _Header(NamedTuple):
    """What a file says of its image before it is decoded.

    Attributes:
        width: In pixels, as stored.
        height: In pixels, as stored.
        orientation: EXIF's, 1 to 8; 1 is upright.
        is_plain_jpeg: Whether TensorFlow decodes it to the same pixels: neither CMYK nor another
            format.
    """

    width: int
    height: int
    orientation: int
    is_plain_jpeg: bool


@rejecting("cannot be opened")
def _read_header(photograph: bytes) -> _Header:
    size = jpeg.read_bare_header(photograph)
    if size is not None:
        _check_size(*size)
        return _Header(*size, orientation=1, is_plain_jpeg=True)
    image = _open(photograph)
    _check_size(*image.size)  # Before EXIF: to find a PNG's, Pillow decodes it.
    is_plain = image.format == "JPEG" and image.mode in ("RGB", "L")
    orientation = image.getexif().get(_ORIENTATION, 1)
    return _Header(image.width, image.height, orientation, is_plain)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise UnusableImageError(f"no pixels: {width}x{height}")
    if width * height > MAX_PIXELS:
        raise UnusableImageError(
            f"too large: {width}x{height} pixels, at most {MAX_PIXELS} are allowed"
        )


def _open(photograph: bytes) -> Image.Image:
    if not photograph:
        raise UnusableImageError("empty file")
    try:
        return heif.open_heic(photograph) or Image.open(io.BytesIO(photograph))
    except UnidentifiedImageError as error:
        raise UnusableImageError(heif.reason_unidentified(photograph)) from error


@rejecting("cannot be decoded")
def _decode(
    photograph: bytes, header: _Header, image_size: int, channels: jpeg.Channels
) -> tuple[Pixels, bool]:
    """Decodes and shrinks the image.

    Returns:
        Upright pixels, and whether libjpeg-turbo found no flaw.
    """
    enough = image_size * _REDUCED
    decoded = jpeg.decode(photograph, channels, enough) if header.is_plain_jpeg else None
    # Pillow says what is wrong with a flawed JPEG, or gets along with it.
    pixels = _decode_any(_open(photograph), channels) if decoded is None else decoded
    if header.orientation in _TURNED:
        pixels = pixels.swapaxes(0, 1)
    if header.orientation in _MIRRORED_X:
        pixels = pixels[:, ::-1]
    if header.orientation in _MIRRORED_Y:
        pixels = pixels[::-1]
    return shrink(np.ascontiguousarray(pixels), image_size), decoded is not None


def _decode_any(image: Image.Image, channels: jpeg.Channels) -> Pixels:
    image.load()
    _check_size(*image.size)  # Some formats tell another one before.
    return np.asarray(_to_rgb(image).convert(channels))


@rejecting("cannot be decoded")
def _tensorflow_takes(photograph: bytes, header: _Header, is_sound: bool) -> bool:
    if not header.is_plain_jpeg or not jpeg.is_known_to_tensorflow(photograph):
        return False
    return is_sound or jpeg.ends_in_time(photograph)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Converts to 8-bit RGB: 16-bit is scaled, transparency is laid on white."""
    if image.mode.startswith("I"):  # Pillow would clip at 255 instead of scaling.
        high_bytes = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(high_bytes).convert("RGB")
    if image.mode == "F":
        raise UnusableImageError("floating-point pixels have no fixed range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _cut(pixels: Pixels, box: Box) -> Pixels:
    """Cuts the box out, widened to whole pixels; keeps one pixel at least."""
    height, width, _ = pixels.shape
    left = min(int(box.xmin * width), width - 1)
    top = min(int(box.ymin * height), height - 1)
    right = max(left + 1, min(width, int(np.ceil(box.xmax * width))))
    bottom = max(top + 1, min(height, int(np.ceil(box.ymax * height))))
    return pixels[top:bottom, left:right]


def shrink(pixels: Pixels, image_size: int) -> Pixels:
    """Shrinks the short side to `image_size`; returns smaller images, and any for 0, unchanged."""
    height, width, _ = pixels.shape
    short = min(height, width)
    if not image_size or short <= image_size:
        return pixels
    size = [max(1, round(side * image_size / short)) for side in (width, height)]
    if short <= 2 * image_size:
        # Two samples a side, as near to each other as pixels are, and their mean: what averaging
        # areas comes to, in under three quarters of its time; see benchmarks/shrinking.py.
        twice = [2 * side for side in size]
        samples = cv2.resize(pixels, twice, interpolation=cv2.INTER_LINEAR_EXACT)
        pixels = np.asarray(samples, np.uint8)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _encode(pixels: Pixels) -> bytes:
    """Encodes in one fixed way, so that equal pixels give equal bytes."""
    if max(pixels.shape) > _LONGEST_SIDE:
        height, width, _ = pixels.shape
        raise UnusableImageError(f"too long for a JPEG: {width}x{height} pixels")
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), JPEG_QUALITY, "RGBX", "420")
