"""Sends damaged images of every format that Pillow opens and writes through a build.

What comes out is read as training, evaluation and TFDS read it.
"""

import functools
import io
import itertools
import json
import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_prep.verification import verify
from tests.support import miniature
from tfrecords import framing, naming, schema
from tfrecords.manifest import read_manifest

CLASSES = ("cat", "dog")
_WHOLE = 10  # Photographs of each class that stay as they are: no split is left empty.
_MODES = ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "YCbCr", "I;16", "I", "F")
_OPTIONS: dict[str, tuple[dict[str, object], ...]] = {
    "JPEG": ({"progressive": True}, {"restart_marker_blocks": 2}, {"keep_rgb": True}),
    "TIFF": tuple({"compression": c} for c in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")),
    "WEBP": ({"lossless": True},),
}
_WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")
_ANIMATED = ("GIF", "PNG", "WEBP", "TIFF", "MPO")


class Outcome(NamedTuple):
    """What came of a build.

    Attributes:
        examples: How many photographs became one.
        reasons: {reason, without its details: how many were rejected for it}.
    """

    examples: int
    reasons: Counter[str]


@functools.cache
def whole_images() -> tuple[tuple[str, bytes], ...]:
    """Undamaged images: (format, content), of each format, mode and option that can be written."""
    Image.init()
    if "HEIF" not in Image.SAVE:
        _register_heif()
    exif = Image.Exif()
    exif[0x0112] = 6
    found: dict[bytes, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of modes that Pillow will write no more.
        for kind, mode in itertools.product(sorted({*Image.OPEN} & {*Image.SAVE}), _MODES):
            found |= _encode(kind, mode)
        # Of other modes, libtiff's JPEG ends the process that writes it.
        for (kind, all_options), mode in itertools.product(_OPTIONS.items(), ("RGB", "L")):
            for options in all_options:
                found |= _encode(kind, mode, **options)
        for kind in _WITH_EXIF:
            found |= _encode(kind, "RGB", exif=exif)
        for kind in _ANIMATED:
            found |= _encode(kind, "RGB", save_all=True, append_images=[_picture("RGB")])
    return tuple((kind, content) for content, kind in sorted(found.items()))


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()


def _encode(kind: str, mode: str, **options: object) -> dict[bytes, str]:
    """{content: format}; nothing where the format does not go with the mode."""
    out = io.BytesIO()
    try:
        _picture(mode).save(out, kind, **options)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {out.getvalue(): kind}


def _picture(mode: str, size: tuple[int, int] = (88, 72)) -> Image.Image:
    blocks = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    image = Image.fromarray(blocks).resize(size, Image.Resampling.BILINEAR)
    return image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)


def damage(content: bytes, draws: random.Random) -> bytes:
    """Does one to six things to a file, half of them near its start, where its tables are."""
    damaged = bytearray(content)
    for _ in range(draws.choice((1, 1, 1, 1, 2, 6))):
        if len(damaged) < 4:
            break
        nearby = min(len(damaged), draws.choice((64, 512, len(damaged), len(damaged))))
        draws.choice(_DAMAGE)(damaged, draws.randrange(nearby), draws)
    return bytes(damaged)


def _flip(damaged: bytearray, at: int, draws: random.Random) -> None:
    damaged[at] ^= 1 << draws.randrange(8)


def _overwrite(damaged: bytearray, at: int, draws: random.Random) -> None:
    damaged[at : at + draws.randrange(1, 16)] = draws.randbytes(draws.randrange(1, 16))


def _truncate(damaged: bytearray, at: int, draws: random.Random) -> None:
    del damaged[draws.choice((at, draws.randrange(len(damaged)), len(damaged) - 2)) :]


def _cut_out(damaged: bytearray, at: int, draws: random.Random) -> None:
    del damaged[at : at + draws.randrange(1, 64)]


def _zero(damaged: bytearray, at: int, draws: random.Random) -> None:
    end = min(len(damaged), at + draws.choice((4, 64, 4096)))
    damaged[at:end] = bytes(end - at)


def _mislead(damaged: bytearray, at: int, draws: random.Random) -> None:
    """Puts a number that is a length, an offset or a size somewhere at its limits."""
    number = draws.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1))
    width, order = draws.choice((2, 4)), draws.choice(("big", "little"))
    damaged[at : at + width] = (number % 256**width).to_bytes(width, order)


def _mark(damaged: bytearray, at: int, draws: random.Random) -> None:
    """Puts one of JPEG's markers there."""
    damaged[at : at + 2] = bytes((0xFF, draws.randrange(256)))


def _splice(damaged: bytearray, at: int, draws: random.Random) -> None:
    _, other = draws.choice(whole_images())
    damaged[at:] = other[draws.randrange(len(other)) :]


def _append(damaged: bytearray, at: int, draws: random.Random) -> None:
    damaged += damaged[at : at + 64]


def _break_exif(damaged: bytearray, at: int, draws: random.Random) -> None:
    """Damages what EXIF begins with, wherever it is; else, something."""
    found = max(damaged.find(mark) for mark in (b"Exif\0\0", b"eXIf", b"EXIF", b"II*\0", b"MM\0*"))
    start = found if found >= 0 else at
    _overwrite(damaged, start + draws.randrange(4, 48), draws)


_DAMAGE: tuple[Callable[[bytearray, int, random.Random], None], ...] = (
    _flip, _overwrite, _truncate, _cut_out, _zero, _mislead, _mark, _splice, _append, _break_exif
)  # fmt: skip


def write(folder: Path, count: int, seed: int) -> None:
    """Writes so many images into a folder for each class, a few whole ones among them."""
    draws = random.Random(seed)
    numbers = np.random.default_rng(seed)
    for number in range(count):
        class_folder = folder / CLASSES[number % len(CLASSES)]
        class_folder.mkdir(parents=True, exist_ok=True)
        if number < _WHOLE * len(CLASSES):
            whole = Image.fromarray(numbers.integers(0, 256, (72, 88, 3), dtype=np.uint8))
            whole.save(class_folder / f"{number:05}.png")
            continue
        kind, content = draws.choice(whole_images())
        (class_folder / f"{number:05}.{kind.lower()}").write_bytes(damage(content, draws))


def survive(folder: Path, *flags: str) -> Outcome:
    """Builds from a folder of photographs and reads all that was built.

    Raises:
        RuntimeError: if a photograph does more than to be rejected by its name.
    """
    data_dir = folder.with_name(f"{folder.name}_data")
    done = miniature.python(
        "data_prep.build", "--source=folder", f"--folder_dir={folder}", f"--data_dir={data_dir}",
        f"--classes={','.join(CLASSES)}", "--max_bad_fraction=1", "--conflicts=keep", *flags,
    )  # fmt: skip
    if done.returncode or done.stderr:
        raise RuntimeError(f"The build of {folder} ended with {done.returncode}: {done.stderr}")
    lines = (data_dir / naming.REJECTED).read_text().splitlines()
    rejections = [json.loads(line) for line in lines]
    examples = [example.filename for example in read_examples(data_dir)]
    seen = sorted(examples + [rejection["file"] for rejection in rejections])
    wanted = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    if seen != wanted:
        raise RuntimeError(f"These are lost or doubled: {set(wanted) ^ set(seen)} of {folder}")
    findings = verify(data_dir, read_manifest(data_dir), num_workers=1)
    # Two files that are damaged where nobody looks show the same.
    findings = [finding for finding in findings if " leaks: " not in finding]
    if findings:
        raise RuntimeError(f"Verification of {data_dir} found {findings}")
    shutil.rmtree(folder)
    shutil.rmtree(data_dir)
    return Outcome(len(examples), Counter(r["reason"].partition(":")[0] for r in rejections))


def read_examples(data_dir: Path) -> list[schema.Example]:
    """Reads every example as training, evaluation and TFDS do, and returns them."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    from trainer.data.view import View

    examples = []
    for shard in read_manifest(data_dir).shards:
        with (data_dir / shard.file).open("rb") as file:
            for record in framing.read_frames(file, shard.bytes):
                example = schema.parse_example(record.data)
                try:
                    tf.io.decode_jpeg(example.image, channels=3)
                    View().square(tf.constant(example.image))
                except tf.errors.InvalidArgumentError as error:
                    raise RuntimeError(f"{example.filename}: {error}") from error
                examples.append(example)
    splits = tfds.builder_from_directory(str(data_dir)).as_dataset()
    num_read = sum(1 for split in splits.values() for _ in split)
    if num_read != len(examples):
        raise RuntimeError(f"TFDS reads {num_read} of {len(examples)} examples")
    return examples
