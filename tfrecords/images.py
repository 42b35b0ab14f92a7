"""The image inside an example: an upright RGB or grey JPEG, whatever the photograph was.

Building a dataset and predicting on a photograph go through this one function, so a photograph is
seen the same way in both.
"""

import io
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from tfrecords.schema import Box

JPEG_QUALITY = 92
MAX_PIXELS = 89_478_485  # Pillow's own bound: about a quarter of a GiB of RGB.

_ORIENTATION = 0x0112  # The EXIF tag.
_TURNED = (5, 6, 7, 8)  # Its values that swap width and height.


ENCODING = 1  # Raised with every change that stores other bytes for the same photograph.


class UnusableImageError(Exception):
    """An image that cannot become an example; the message is the reason."""


def encoding() -> str:
    """What decides the stored bytes beside photograph and options: another one, other shards."""
    return f"{ENCODING}, quality {JPEG_QUALITY}, Pillow {PIL.__version__}"


def store_jpeg(
    photograph: bytes,
    image_size: int,
    crop: Box | None = None,
    look: Callable[[Image.Image], object] | None = None,
) -> bytes:
    """Returns the JPEG that an example stores.

    Args:
        photograph: The file's bytes, in any format that Pillow reads.
        image_size: Longest short side in pixels, shrunk to where it is more; 0 keeps the size. A
            JPEG that already fits is returned as it is.
        crop: What to cut out, in shares of the upright image.
        look: Called with the upright photograph, which is decoded anyway.

    Raises:
        UnusableImageError: with the reason.
    """
    image = _decode(photograph)
    if look is not None:
        look(_upright(image))
    fits = not image_size or min(image.size) <= image_size
    if crop is None and fits and _orientation(image) == 1 and _is_plain_jpeg(image):
        return photograph
    image = _to_rgb(_upright(image))
    if crop is not None:
        image = _cut(image, crop)
    return _encode(_shrink(image, image_size))


def upright_boxes(
    photograph: bytes, boxes: Sequence[Box], annotated_size: tuple[int, int]
) -> list[Box]:
    """Turns boxes with their image, where they were drawn on it as stored, not as shown.

    Labelling tools show the image upright and write that size; others write the stored size. The
    two can be told apart where EXIF turns the image by 90 degrees.

    Args:
        photograph: The file's bytes; only the header is read.
        boxes: In shares of the annotated image.
        annotated_size: (width, height) of the annotated image, in pixels.

    Raises:
        UnusableImageError: with the reason.
    """
    image = _open(photograph)
    orientation = _orientation(image)
    drawn_on_stored = annotated_size == image.size and image.width != image.height
    if orientation not in _TURNED or not drawn_on_stored:
        return list(boxes)
    return [_turn(box, orientation) for box in boxes]


def _turn(box: Box, orientation: int) -> Box:
    """Swaps the axes, then mirrors those that the orientation mirrors."""
    y0, x0, y1, x1 = box.xmin, box.ymin, box.xmax, box.ymax
    if orientation in (6, 7):
        x0, x1 = 1 - x1, 1 - x0
    if orientation in (7, 8):
        y0, y1 = 1 - y1, 1 - y0
    return Box(ymin=y0, xmin=x0, ymax=y1, xmax=x1)


def _open(photograph: bytes) -> Image.Image:
    if not photograph:
        raise UnusableImageError("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of odd metadata and sizes: both are judged here.
            image = Image.open(io.BytesIO(photograph))
    except UnidentifiedImageError:
        raise UnusableImageError("not an image") from None
    except Image.DecompressionBombError as error:
        raise UnusableImageError(f"too large: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:  # What Pillow's plugins raise.
        raise UnusableImageError(f"cannot be opened: {error}") from None
    if image.width * image.height > MAX_PIXELS:
        raise UnusableImageError(
            f"too large: {image.width}x{image.height} pixels, at most {MAX_PIXELS} are allowed"
        )
    return image


def _decode(photograph: bytes) -> Image.Image:
    """Decodes every pixel: a truncated file shows only there."""
    image = _open(photograph)
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnusableImageError(f"cannot be decoded: {error}") from None
    return image


def decode_upright(photograph: bytes) -> Image.Image:
    """Returns the photograph as it is shown, in its own mode.

    Raises:
        UnusableImageError: with the reason.
    """
    return _upright(_decode(photograph))


def _upright(image: Image.Image) -> Image.Image:
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(_ORIENTATION, 1)


def _is_plain_jpeg(image: Image.Image) -> bool:
    """Whether TensorFlow decodes it to the same pixels: neither CMYK nor another format."""
    return image.format == "JPEG" and image.mode in ("RGB", "L")


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB; 16-bit is scaled, transparency is laid on white."""
    if image.mode.startswith("I"):  # Pillow would clip at 255 instead of scaling.
        high_bytes = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(high_bytes).convert("RGB")
    if image.mode == "F":
        raise UnusableImageError("floating-point pixels have no fixed range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _cut(image: Image.Image, box: Box) -> Image.Image:
    """Cuts the box out, widened to whole pixels; at least one pixel remains."""
    left = min(int(box.xmin * image.width), image.width - 1)
    top = min(int(box.ymin * image.height), image.height - 1)
    right = max(left + 1, min(image.width, int(np.ceil(box.xmax * image.width))))
    bottom = max(top + 1, min(image.height, int(np.ceil(box.ymax * image.height))))
    return image.crop((left, top, right, bottom))


def _shrink(image: Image.Image, image_size: int) -> Image.Image:
    short = min(image.size)
    if not image_size or short <= image_size:
        return image
    width, height = (max(1, round(side * image_size / short)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _encode(image: Image.Image) -> bytes:
    """One fixed way to encode, so that equal pixels give equal bytes."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0", optimize=False)
    return out.getvalue()
