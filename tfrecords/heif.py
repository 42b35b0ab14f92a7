"""HEIC and AVIF, as phones write them: told by their brands, not by the file's name."""

import functools
import importlib.metadata
import io

from PIL import Image, features

from tfrecords.unusable import UnusableImageError

_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_MOST_BRANDS_AT = 256  # Bytes: real files list a dozen.


def open_heic(photograph: bytes) -> Image.Image | None:
    """Opens a HEIC with pillow-heif; returns None for any other file.

    pillow-heif is not registered with Pillow, so that opening a HEIC does not change how other
    files are opened.

    Raises:
        UnusableImageError: if pillow-heif is not installed.
    """
    if not is_heic(photograph):
        return None
    try:
        import pillow_heif  # An extra: few have such files.
    except ImportError as error:
        raise UnusableImageError(_needs_extra("HEIC")) from error
    image: Image.Image = pillow_heif.HeifImageFile(io.BytesIO(photograph))
    return image


def reason_unidentified(photograph: bytes) -> str:
    """Says why Pillow does not recognise a file."""
    if _brands(photograph) & _AVIF and not features.check("avif"):
        return _needs_extra("AVIF")
    return "not an image"


def extra_decoder(photograph: bytes) -> str:
    """Names the optional decoder that the file needs, with its version; "" if it needs none.

    Args:
        photograph: The file's bytes, or the first kilobyte of them.
    """
    if is_heic(photograph):
        return f"pillow-heif {_version_of_pillow_heif()}"
    return "AVIF missing" if reason_unidentified(photograph) == _needs_extra("AVIF") else ""


def is_heic(photograph: bytes) -> bool:
    """Whether it is HEIC or another HEIF, but not AVIF, which Pillow reads itself."""
    brands = _brands(photograph)
    return bool(brands & _HEIC) and not brands & _AVIF


def _brands(photograph: bytes) -> set[bytes]:
    """Returns the major brand and the compatible ones, from the box that a HEIF begins with."""
    if photograph[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(photograph[:4], "big"), _MOST_BRANDS_AT, len(photograph))
    return {photograph[8:12]} | {photograph[at : at + 4] for at in range(16, end, 4)}


@functools.cache
def _version_of_pillow_heif() -> str:
    try:
        return importlib.metadata.version("pillow-heif")
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _needs_extra(kind: str) -> str:
    return f"{kind} needs the extra [heic]: `pip install -e '.[heic]'`"
