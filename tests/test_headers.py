"""The size of a photograph is read from its header, and of what has none there is no size."""

import io
from pathlib import Path

import pytest
from PIL import Image

from data_prep.sources import headers
from tests.support.coco_folder import jpeg
from tfrecords.images import Sizes

WIDE, TALL = (32, 24), (24, 32)


def encoded(kind: str, orientation: int = 1) -> bytes:
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.new("RGB", WIDE).save(out, kind, exif=exif)
    return out.getvalue()


def late_header() -> bytes:
    """A JPEG whose size stands behind more comments than the first read takes."""
    content = jpeg(0)
    comment = b"\xff\xfe" + (60_000).to_bytes(2, "big") + b" " * 59_998
    return content[:2] + 2 * comment + content[2:]


@pytest.mark.parametrize(
    ("content", "sizes"),
    [
        (jpeg(0), Sizes(WIDE, WIDE)),
        (jpeg(0, orientation=3), Sizes(WIDE, WIDE)),  # Upside down.
        (jpeg(0, orientation=6), Sizes(WIDE, TALL)),
        (late_header(), Sizes(WIDE, WIDE)),
        (encoded("PNG", 8), Sizes(WIDE, TALL)),
        (encoded("WEBP"), Sizes(WIDE, WIDE)),
        (jpeg(0)[:-100], Sizes(WIDE, WIDE)),  # Its pixels are another matter.
        (b"", None),
        (b"<html>", None),
        (jpeg(0)[:20], None),
    ],
)
def test_sizes_as_stored_and_as_shown(content: bytes, sizes: Sizes | None, tmp_path: Path) -> None:
    path = str(tmp_path / "1.jpg")
    Path(path).write_bytes(content)
    assert headers.read_sizes([path]) == ({path: sizes} if sizes else {})


def test_what_is_not_there_has_no_size(tmp_path: Path) -> None:
    assert headers.read_sizes([str(tmp_path), str(tmp_path / "x.jpg"), "x" * 300]) == {}
