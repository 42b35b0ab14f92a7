"""JPEG: its markers, libjpeg-turbo's decoder, and which files TensorFlow's would refuse."""

import io
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

Channels = Literal["RGB", "RGBX"]
"""The channels of decoded pixels; libjpeg-turbo and OpenCV are a tenth faster with four."""

_START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN = b"\xff\xda"  # The pixels follow.
# The first holds EXIF and XMP, the second colour profiles and further images.
_METADATA = {b"\xff\xe1", b"\xff\xe2"}
_LOSSLESS = {b"\xff\xc3", b"\xff\xcb"}  # Which TensorFlow's libjpeg does not know.
_ALONE = {0x01, *range(0xD0, 0xD9)}  # Markers without a length.
_REFUSED = (ValueError, KeyError)  # What simplejpeg raises at a file that is damaged or odd.

# A second header, where none may stand, as long as the longest segment: libjpeg gives up at once.
_WALL = b"\xff\xc0" * 2**15 + bytes(16)


def read_bare_header(photograph: bytes) -> tuple[int, int] | None:
    """Reads the size of a JPEG without metadata, like COCO's, in a tenth of Pillow's time.

    Returns:
        (width, height); None for any other file, and for colours that TensorFlow decodes to other
        pixels.
    """
    found = list(_markers(photograph)) if photograph[:2] == _START_OF_IMAGE else []
    if not found or found[-1] != _START_OF_SCAN or not _METADATA.isdisjoint(found):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(photograph)
    except _REFUSED:
        return None
    return (width, height) if colours in ("YCbCr", "Gray") else None


def decode(photograph: bytes, channels: Channels, enough: int = 0) -> npt.NDArray[np.uint8] | None:
    """Decodes every pixel, since a truncated file shows only there.

    Args:
        photograph: The file's bytes.
        channels: Three or four, the fourth unused.
        enough: A fraction of the size may be decoded, as long as both sides keep this many pixels;
            0 decodes the full size.

    Returns:
        Pixels, [height, width, channels], as stored; None if the file is damaged, though other
        decoders may accept it.
    """
    reduced: dict[str, Any] = {}
    if enough:
        reduced = {"min_height": enough, "min_width": enough, "min_factor": 2}
    try:
        return simplejpeg.decode_jpeg(photograph, channels, **reduced)
    except _REFUSED:
        return None


def decode_remains(photograph: bytes, max_pixels: int) -> npt.NDArray[np.uint8] | None:
    """Decodes the part that is there of a JPEG that was cut off.

    Returns:
        RGB, [height, width, 3]; None if nothing is left, or if there are more than `max_pixels`.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(photograph, strict=False)
        if height * width > max_pixels:
            return None
        return simplejpeg.decode_jpeg(photograph, "RGB", strict=False)
    except _REFUSED:
        return None


def is_known_to_tensorflow(photograph: bytes) -> bool:
    """Whether TensorFlow decodes this kind of JPEG: not lossless, and with a scan."""
    found = list(_markers(photograph))
    return found[-1:] == [_START_OF_SCAN] and _LOSSLESS.isdisjoint(found)


def ends_in_time(photograph: bytes) -> bool:
    """Whether TensorFlow decodes a flawed JPEG: it passes over flaws, but not beyond the end.

    Other decoders make up what a file lacks; TensorFlow's fails where libjpeg asks for more than
    there is, be it for the pixels or for what follows them. So the file is decoded with a wall
    behind its end, at which libjpeg fails, and all of it at once, since Pillow would take a pause
    behind the pixels for the end.
    """
    walled = photograph + _WALL
    try:
        image = Image.open(io.BytesIO(walled), formats=["JPEG"])
        vars(image)["decodermaxblock"] = len(walled)
        image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def _markers(photograph: bytes) -> Iterator[bytes]:
    """Yields the markers up to the start of the pixels or the image's end; skips stray bytes."""
    start = 2
    while (start := photograph.find(b"\xff", start)) >= 0:
        marker = photograph[start : start + 2]
        if marker[1:] in (b"\xff", b"\x00", b""):  # Padding, or no marker.
            start += 1
            continue
        yield marker
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        length = int.from_bytes(photograph[start + 2 : start + 4], "big")
        start += 2 if marker[1] in _ALONE else 2 + max(length, 2)
