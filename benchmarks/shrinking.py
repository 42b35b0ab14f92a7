"""Compares ways to shrink photographs: how near to Lanczos, the slowest and best, in what time.

python -m benchmarks.shrinking --coco_dir=COCO

`build's own` is `tfrecords.images.shrink`; the others are what OpenCV and Pillow have.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from absl import flags
from PIL import Image

from cli import command, paths
from tfrecords import images

FLAGS = flags.FLAGS

paths.define("coco_dir", None, "Its folders hold photographs.", required=True)
flags.DEFINE_integer("images", 500, "At most so many of them.", lower_bound=1)
flags.DEFINE_integer("image_size", 256, "Short side of what is left, in pixels.", lower_bound=1)
flags.DEFINE_integer("runs", 5, "Of which the medians are printed.", lower_bound=1)

Size = tuple[int, int]
Shrink = Callable[[images.Pixels, Size], images.Pixels]


def _opencv(interpolation: int) -> Shrink:
    return lambda pixels, size: np.asarray(
        cv2.resize(pixels, size, interpolation=interpolation), np.uint8
    )


def _pillow(resample: Image.Resampling) -> Shrink:
    return lambda pixels, size: np.asarray(Image.fromarray(pixels).resize(size, resample))


def main(arguments: list[str]) -> None:
    """Prints a line for each."""
    command.refuse_arguments(arguments)
    photographs = [p for p in _photographs() if min(p.shape[:2]) > FLAGS.image_size]
    ways: dict[str, Shrink] = {
        "build's own": lambda pixels, _: images.shrink(pixels, FLAGS.image_size),
        "areas": _opencv(cv2.INTER_AREA),
        "bilinear": _opencv(cv2.INTER_LINEAR_EXACT),
        "Pillow's bilinear": _pillow(Image.Resampling.BILINEAR),
        "Lanczos": _pillow(Image.Resampling.LANCZOS),
    }
    sizes = [_size(images.shrink(pixels, FLAGS.image_size)) for pixels in photographs]
    best = [ways["Lanczos"](*pair) for pair in zip(photographs, sizes, strict=True)]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    decibels: dict[str, float] = {}
    for _ in range(FLAGS.runs):
        for name, shrink in ways.items():
            start = time.perf_counter()
            shrunk = [shrink(*pair) for pair in zip(photographs, sizes, strict=True)]
            seconds[name].append(time.perf_counter() - start)
            decibels[name] = statistics.mean(map(_decibels, shrunk, best))
    print(f"{len(photographs)} photographs, to {FLAGS.image_size} pixels, medians of {FLAGS.runs}")
    for name, repetitions in seconds.items():
        milliseconds = 1000 * statistics.median(repetitions) / len(photographs)
        print(f"{name}: {milliseconds:.2f} ms a photograph, {decibels[name]:.1f} dB to Lanczos")


def _photographs() -> list[images.Pixels]:
    found = sorted(Path(FLAGS.coco_dir).glob("*/*.jpg"))[: FLAGS.images]
    return [images.decode(path.read_bytes()) for path in found]


def _size(pixels: images.Pixels) -> Size:
    height, width, _ = pixels.shape
    return width, height


def _decibels(pixels: images.Pixels, best: images.Pixels) -> float:
    """Peak signal-to-noise ratio; infinite where nothing differs."""
    error = np.mean((pixels.astype(np.float64) - best) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


if __name__ == "__main__":
    command.run(main)
