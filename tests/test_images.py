"""Whatever a photograph is, an example holds an upright RGB or grey JPEG of it."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import AvifImagePlugin, Image, ImageFile, features

from data_prep.examples.near_duplicates import fingerprint
from tests.support.miniature import environment
from tfrecords import images
from tfrecords.images import UnusableImageError, store_jpeg, upright_boxes
from tfrecords.schema import Box

RED, BLUE = (254, 0, 0), (0, 0, 254)
ORIENTATION = 0x0112


def encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pixels(jpeg: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.format == "JPEG"
        assert image.mode in ("RGB", "L")
        return np.asarray(image.convert("RGB")).astype(int)


def corner(size: tuple[int, int] = (48, 32)) -> Image.Image:
    """Blue with a red upper left quarter: shows how it is turned."""
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, (0, 0, size[0] // 2, size[1] // 2))
    return image


def test_jpeg_that_fits_keeps_its_bytes() -> None:
    for image in (corner(), corner().convert("L")):
        assert store_jpeg(encode(image), 32) == encode(image)
        assert store_jpeg(encode(image), 0) == encode(image)


def test_short_side_is_shrunk_and_the_shape_kept() -> None:
    assert pixels(store_jpeg(encode(Image.new("RGB", (300, 200), RED)), 64)).shape == (64, 96, 3)
    assert pixels(store_jpeg(encode(Image.new("RGB", (20, 2000), RED)), 10)).shape == (1000, 10, 3)


@pytest.mark.parametrize("image_size", [100, 180, 256])
def test_shrunk_photograph_shows_all_of_its_pixels(image_size: int) -> None:
    stripes = np.zeros((480, 640, 3), np.uint8)
    stripes[:, ::2] = 255  # Where pixels are passed over, stripes of another width are left.
    shrunk = images.shrink(stripes, image_size).astype(int)
    assert shrunk.shape == (image_size, round(640 * image_size / 480), 3)
    np.testing.assert_allclose(shrunk, 127, atol=35)
    assert abs(shrunk.mean() - 127.5) < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_is_stored_and_looked_at_is_what_decode_shows(kind: str) -> None:
    noise = np.random.default_rng(0).integers(256, size=(90, 120, 3), dtype=np.uint8)
    photograph = encode(Image.fromarray(noise), kind)
    looked_at: list[images.Pixels] = []
    stored = store_jpeg(photograph, 64, look=looked_at.append)
    shown = images.decode(photograph, 64)
    np.testing.assert_array_equal(looked_at[0][:, :, :3], shown)
    assert fingerprint(looked_at[0]) == fingerprint(shown)
    assert stored == simplejpeg.encode_jpeg(shown, images.JPEG_QUALITY, "RGB", "420")


@pytest.mark.parametrize(
    ("photograph", "colour"),
    [
        # Grey, CMYK and palettes become RGB.
        (encode(Image.new("L", (16, 16), 200), "PNG"), (200, 200, 200)),
        (encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0))), (255, 0, 0)),
        (encode(Image.new("P", (16, 16)), "GIF"), (0, 0, 0)),
        # 16 bits are scaled, where Pillow alone would clip: 32896 is half of 65535.
        (encode(Image.fromarray(np.full((16, 16), 32896, np.uint16)), "PNG"), (128, 128, 128)),
        # What is transparent shows the white below.
        (encode(Image.new("RGBA", (16, 16), (0, 0, 0, 0)), "PNG"), (255, 255, 255)),
        (encode(Image.new("LA", (16, 16), (0, 128)), "PNG"), (127, 127, 127)),
        # Any format that Pillow reads, whatever the file is called.
        (encode(Image.new("RGB", (16, 16), RED), "PNG"), RED),
        (encode(Image.new("RGB", (16, 16), RED), "WEBP", lossless=True), RED),
    ],
)
def test_any_kind_of_image_becomes_an_rgb_jpeg(photograph, colour) -> None:
    stored = pixels(store_jpeg(photograph, 256))
    np.testing.assert_allclose(stored, np.broadcast_to(colour, stored.shape), atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photograph_comes_out_upright_with_its_boxes(orientation) -> None:
    upright = corner()
    # Stored the other way round: what a camera writes when it is held like this.
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photograph = encode(stored, exif=exif, quality=95)
    found = pixels(store_jpeg(photograph, 256))
    assert found.shape == (32, 48, 3)
    is_red = found[..., 0] > 128
    np.testing.assert_array_equal(is_red, np.asarray(upright)[..., 0] > 128)

    # A box drawn on the upright image stays; one drawn on the stored image is turned with it.
    quarter = Box(ymin=0.0, xmin=0.0, ymax=0.5, xmax=0.5)
    assert upright_boxes(photograph, [quarter], (48, 32)) == [quarter]
    if orientation >= 5:
        red = np.argwhere(np.asarray(stored)[..., 0] > 128)
        (top, left), (bottom, right) = red.min(axis=0), red.max(axis=0) + 1
        height, width = stored.height, stored.width
        drawn = Box(top / height, left / width, bottom / height, right / width)
        assert upright_boxes(photograph, [drawn], stored.size) == [quarter]


def test_crop_is_cut_from_the_upright_photograph() -> None:
    crop = Box(ymin=0.0, xmin=0.0, ymax=0.5, xmax=0.5)
    found = pixels(store_jpeg(encode(corner(), quality=95), 256, crop))
    assert found.shape == (16, 24, 3)
    assert found[4:-4, 4:-4, 0].min() > 200
    sliver = Box(ymin=0.5, xmin=0.5, ymax=0.5001, xmax=0.5001)
    assert pixels(store_jpeg(encode(corner()), 256, sliver)).shape == (1, 1, 3)


def test_equal_photographs_give_equal_bytes() -> None:
    photograph = encode(corner((400, 300)))
    assert store_jpeg(photograph, 64) == store_jpeg(photograph, 64)


STORE = """
import hashlib, sys
from data_prep.examples.near_duplicates import fingerprint
from tfrecords import images

for path in sys.argv[1:]:
    photograph, seen = open(path, "rb").read(), []
    for size in (0, 100, 256):
        jpeg = images.store_jpeg(photograph, size, look=lambda p: seen.append(fingerprint(p)))
        print(hashlib.sha256(jpeg).hexdigest(), seen.pop())
"""


def test_bytes_and_fingerprints_do_not_depend_on_the_processor(shared: Path) -> None:
    paths = sorted((shared / "coco_animals" / "train2017").glob("*.jpg"))[:20]
    plainest = {  # What libraries choose by the processor is turned off.
        "OPENCV_CPU_DISABLE": "SSE4.1,SSE4.2,AVX,FP16,AVX2,AVX512-SKX",
        "OPENCV_IPP": "disabled",
        "JSIMD_FORCENONE": "1",
        "OPENBLAS_CORETYPE": "Prescott",
    }
    found = [
        subprocess.run(
            [sys.executable, "-c", STORE, *map(str, paths)],
            env=environment() | variables, capture_output=True, text=True, check=True,
        ).stdout
        for variables in ({}, plainest)
    ]  # fmt: skip
    assert len(found[0].splitlines()) == 3 * len(paths)
    assert found[0] == found[1]


def test_jpeg_is_decoded_to_the_pixels_of_any_other_decoder(shared: Path) -> None:
    for path in sorted((shared / "coco_animals" / "val2017").glob("*.jpg"))[:20]:
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(images.decode(path.read_bytes()), expected)


@pytest.mark.parametrize("orientation", [1, 6])
def test_large_photograph_decoded_at_a_fraction_shows_the_same(orientation) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photograph = encode(corner((2400, 1600)), exif=exif)
    whole = images.shrink(images.decode(photograph), 64)
    np.testing.assert_allclose(images.decode(photograph, 64).astype(int), whole, atol=12)


def test_jpeg_with_a_flaw_that_viewers_pass_over_is_used() -> None:
    photograph = encode(corner((96, 64)))
    flawed = photograph[:-2] + b"some bytes too many" + photograph[-2:]
    assert store_jpeg(flawed, 32) == store_jpeg(photograph, 32)


@pytest.mark.parametrize(
    ("photograph", "reason"),
    [
        (b"", "empty file"),
        (encode(Image.new("RGB", (70_000, 4)), "PNG"), "too long for a JPEG: 70000x4 pixels"),
        (b"<html>not found</html>", "not an image"),
        (encode(corner((200, 200)))[:-200], "cannot be decoded"),
        (encode(Image.new("F", (8, 8)), "TIFF"), "floating-point"),
    ],
)
def test_unusable_photograph_says_why(photograph, reason) -> None:
    with pytest.raises(UnusableImageError, match=reason):
        store_jpeg(photograph, 64)


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def with_marker(jpeg: bytes, marker: bytes) -> bytes:
    """Puts a marker among the pixels, close to their end."""
    return jpeg[:-60] + marker + jpeg[-60:]


PNG = encode(corner((200, 200)), "PNG")
NOISE = encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)))
FLAWED = {
    # What TensorFlow passes over is kept, though libjpeg warns of it.
    "bytes before the end": (NOISE[:-2] + b"noise" + NOISE[-2:], True),
    "bytes behind the end": (NOISE + b"noise", True),
    # What it refuses is not, though others decode it.
    "a comment longer than the file": (with_marker(NOISE, b"\xff\xfe\xfe\xe3"), False),
    "an end in the middle": (with_marker(NOISE, b"\xff\xd9"), True),
    "tables, an end, and the image": (NOISE[:158] + b"\xff\xd9" + NOISE, False),
}


@pytest.mark.parametrize("name", FLAWED)
def test_flawed_jpeg_keeps_its_bytes_where_tensorflow_decodes_it(name: str) -> None:
    import tensorflow as tf

    photograph, is_kept = FLAWED[name]
    stored = store_jpeg(photograph, 0)
    assert (stored == photograph) == is_kept
    assert images.decode_stored(stored).shape == tf.io.decode_jpeg(stored, channels=3).shape
    if not is_kept:
        with pytest.raises(tf.errors.InvalidArgumentError):
            tf.io.decode_jpeg(photograph, channels=3)
        with pytest.raises(UnusableImageError, match="TensorFlow cannot decode it"):
            images.decode_stored(photograph)


@pytest.mark.parametrize(
    ("photograph", "reason"),
    [
        (PNG[:-40], "cannot be opened: image file is truncated"),  # Pillow decodes it for EXIF.
        (PNG[:33] + chunk(b"eXIf", b"\0\x08\0\x02\x01\x12") + PNG[33:], "cannot be opened: "),
        (encode(corner(), "AVIF")[:-40], "cannot be decoded: "),
        (encode(corner(), "WEBP")[:-40], "cannot be opened: could not create decoder object"),
        (encode(corner())[:20], "not an image"),
    ],
)
def test_whatever_a_plugin_raises_is_a_reason(photograph, reason) -> None:
    for take in (images.decode, images.sizes, lambda p: store_jpeg(p, 64)):
        if take is images.sizes and "decoded" in reason:
            continue  # The header is well.
        with pytest.raises(UnusableImageError, match=f"^{reason}"):
            take(photograph)


@pytest.mark.parametrize("stage", ["getexif", "load", "convert"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("two\nlines \x1b of it"), "RuntimeError: two lines of it"),
        (OSError("of <_io.BytesIO object at 0x7f0a> it"), "of it"),
        (KeyError(-1), "KeyError: -1"),
        (AssertionError(), "AssertionError"),
        (MemoryError(), "not enough memory"),
        (ValueError("x" * 5000), "x" * 200),
    ],
)
def test_reason_is_one_short_line(stage, error, reason, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise error

    photograph = encode(Image.new("P", (16, 16)), "GIF")
    for kind in (Image.Image, ImageFile.ImageFile):
        monkeypatch.setattr(kind, stage, fail)
    with pytest.raises(UnusableImageError) as raised:
        store_jpeg(photograph, 64)
    assert str(raised.value).partition(": ")[2] == reason


def test_interrupt_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile.ImageFile, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store_jpeg(PNG, 64)


def heif(*brands: bytes) -> bytes:
    """The first box of a HEIC or AVIF, and nothing else."""
    content = b"ftyp" + brands[0] + bytes(4) + b"".join(brands)
    return struct.pack(">I", 4 + len(content)) + content + bytes(99)


@pytest.mark.parametrize("brands", [(b"heic", b"mif1"), (b"mif1", b"heic"), (b"msf1", b"hevc")])
def test_heic_without_its_extra_names_it(brands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnusableImageError, match=r"^HEIC needs the extra \[heic\]: `pip install"):
        store_jpeg(heif(*brands), 64)


def test_avif_that_pillow_cannot_read_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
    monkeypatch.setattr(features, "check", lambda _: False)
    with pytest.raises(UnusableImageError, match=r"^AVIF needs the extra \[heic\]: `pip install"):
        store_jpeg(encode(corner(), "AVIF"), 64)


def test_heic_and_avif_come_out_upright() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra [heic]")
    out = io.BytesIO()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = corner().transpose(Image.Transpose.ROTATE_90)
    pillow_heif.from_pillow(turned).save(out, exif=exif.tobytes(), quality=90)
    for photograph in (out.getvalue(), encode(turned, "AVIF", exif=exif)):
        found = pixels(store_jpeg(photograph, 256))
        assert found.shape == (32, 48, 3)
        assert found[4:12, 4:20, 0].min() > 200
        assert found[20:, :, 0].max() < 60


def test_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = encode(Image.new("1", (30_000, 30_000)), "PNG")  # 900 megapixels in 110 kB.
    assert len(bomb) < 200_000
    with pytest.raises(UnusableImageError, match="too large"):
        store_jpeg(bomb, 64)
    nearly = encode(Image.new("1", (9_460, 9_460)), "PNG")
    assert images.MAX_PIXELS < 9_460**2
    with pytest.raises(UnusableImageError, match="at most"):
        store_jpeg(nearly, 64)
