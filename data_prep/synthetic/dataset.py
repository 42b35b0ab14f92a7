"""Draws a dataset in COCO's layout from a seed: the demo's data, and test data of any size."""

import dataclasses
import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from data_prep.config import COCO_ANIMALS
from data_prep.synthetic.animals import DRAW
from data_prep.synthetic.drawing import Sketch, rotation
from data_prep.synthetic.scenery import draw_branch, draw_scenery, draw_shadow
from tfrecords import files

CLASSES = COCO_ANIMALS

# COCO's own ids. Of these, people, cows and elephants are never drawn.
_CATEGORY_IDS = {
    "person": 1, "bird": 16, "cat": 17, "dog": 18, "horse": 19, "sheep": 20, "cow": 21,
    "elephant": 22, "bear": 23, "zebra": 24, "giraffe": 25,
}  # fmt: skip
_CATEGORIES = [
    {"id": i, "name": name, "supercategory": "person" if name == "person" else "animal"}
    for name, i in _CATEGORY_IDS.items()
]
_INFO = {"description": "Drawn animals", "version": "1.0", "contributor": "data_prep.synthetic"}
_CC0 = "https://creativecommons.org/publicdomain/zero/1.0/"
_LICENSES = [{"id": 1, "name": "CC0 1.0 Universal", "url": _CC0}]

_SPLITS = ("train2017", "val2017")
# Out of 40 images, these are not a single animal of a good size, so that each rule is exercised.
_SPECIAL = {0: "tiny", 1: "crowd", 2: "twins", 3: "pair", 4: "pair"}
_PERCHED_SHARE = 0.35
_SUPERSAMPLE = 2  # Drawn at twice the size, then averaged: smooth edges.
_MIN_SIDE = 64
_JPEG_QUALITY = 90


@dataclasses.dataclass
class Instance:
    """An animal, or a herd of one class, as it was drawn.

    Attributes:
        name: Its class.
        cover: How much of each pixel its visible part fills, float32 [height, width] in [0, 1].
        outline: The polygons whose union is its silhouette, in pixels.
        is_crowd: Whether it is a herd.
    """

    name: str
    cover: npt.NDArray[np.floating[Any]]
    outline: list[npt.NDArray[np.float64]]
    is_crowd: bool

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The pixels that belong to it, [height, width]."""
        return self.cover > 0.5


def _deal(seed: int, index: int, size: int) -> int:
    """Returns a number below `size`: each comes once in `size` images, every time reordered."""
    return int(np.random.default_rng([seed, index // size, size]).permutation(size)[index % size])


def _split(seed: int, index: int) -> str:
    """Returns the split of an image: one in five images of each class is for validation."""
    return _SPLITS[(index // len(CLASSES) + _deal(seed, index, len(CLASSES))) % 5 == 4]


class _Stage:
    """A scene at _SUPERSAMPLE times its final size, and the animals in it, back to front."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng = rng
        self.width, self.height = width * _SUPERSAMPLE, height * _SUPERSAMPLE
        self.canvas, self.horizon = draw_scenery(rng, self.width, self.height)
        self.instances: list[Instance] = []

    def pose(
        self,
        name: str,
        share: float,
        *,
        columns: tuple[float, float] = (0, 1),
        depth: tuple[float, float] = (0.15, 0.95),
    ) -> Sketch:
        """Returns an animal, in pixels, ready to be `put`, and draws what it stands on.

        Args:
            name: Class of the animal.
            share: How much of the columns, or of the scene's height, it fills at most.
            columns: Left and right bound, as shares of the scene's width.
            depth: Range of its feet, from 0 at the horizon to 1 at the lower edge; a bird may sit
                on a branch instead.
        """
        rng, animal = self.rng, DRAW[name](self.rng)
        facing = rng.choice((-1, 1)) * rng.uniform(0.92, 1.08)
        animal = animal.moved(rotation(rng.normal(0, 2.5)) @ np.diag((facing, -1)))
        corners = np.concatenate(animal.outline())
        low, high = corners.min(axis=0), corners.max(axis=0)
        left, right = np.multiply(columns, self.width)
        scale = share * min((right - left) / (high[0] - low[0]), self.height / (high[1] - low[1]))
        width, height = (high - low) * scale
        is_perched = name == "bird" and rng.random() < _PERCHED_SHARE
        ground = 0 if is_perched else self.horizon
        nearest, farthest = (ground + d * (self.height - ground) for d in reversed(depth))
        x = left + rng.uniform(0.02, 0.98) * (right - left - width)
        y = max(rng.uniform(farthest, nearest), height + 0.02 * self.height)
        if is_perched:
            draw_branch(rng, self.canvas, y)
        else:
            draw_shadow(self.canvas, x + width / 2, y, width)
        return animal.moved(np.eye(2) * scale, (x - low[0] * scale, y - high[1] * scale))

    def put(self, name: str, sketch: Sketch, *, is_crowd: bool = False) -> None:
        """Paints a sketch in front of all others."""
        silhouette = sketch.paint(self.canvas).reduce(_SUPERSAMPLE)
        cover = np.asarray(silhouette, dtype=np.float32) / np.float32(255)
        for other in self.instances:
            other.cover = other.cover * (1 - cover)
        outline = [shape / _SUPERSAMPLE for shape in sketch.outline()]
        self.instances.append(Instance(name, cover, outline, is_crowd))

    def photograph(self) -> Image.Image:
        """Returns the scene at its final size, with light and a camera's grain."""
        rng = self.rng
        pixels = np.asarray(self.canvas.reduce(_SUPERSAMPLE), dtype=np.float32)
        height, width, _ = pixels.shape
        rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        angle, contrast = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.12)
        slope = contrast * (np.cos(angle) * columns + np.sin(angle) * rows)
        light = (rng.uniform(0.9, 1.06) + slope).astype(np.float32)
        for instance in self.instances:  # Lit from above.
            inside = np.flatnonzero(instance.mask.any(axis=1))
            tone = np.interp(np.arange(height), (inside[0], inside[-1]), (0.08, -0.16))
            light *= 1 + instance.cover * tone.astype(np.float32)[:, None]
        cover = np.sum([instance.cover for instance in self.instances], axis=0)
        edge = Image.fromarray((cover * 255).astype(np.uint8))
        edge = edge.filter(ImageFilter.GaussianBlur(width / 60))
        light *= 1 - 0.18 / 255 * np.asarray(edge) * (1 - cover)  # Animals stand out.
        clouds = Image.fromarray(rng.normal(0, 0.018, (9, 12)).astype(np.float32))
        clouds = clouds.resize((width, height), Image.Resampling.BICUBIC)
        grain = rng.standard_normal((height, width), dtype=np.float32)
        light *= 1 + np.asarray(clouds) + 0.022 * grain
        tint = rng.uniform(0.95, 1.05, 3).astype(np.float32)
        return Image.fromarray((pixels * light[..., None] * tint).clip(0, 255).astype(np.uint8))


def draw_image(
    *, seed: int, index: int, width: int, height: int
) -> tuple[Image.Image, list[Instance]]:
    """Returns RGB [height, width] and what stands in it: a pure function of the arguments."""
    rng = np.random.default_rng([seed, index])
    name = CLASSES[_deal(seed, index, len(CLASSES))]
    kind = _SPECIAL.get(_deal(seed, index, 40), "one")
    stage = _Stage(rng, width, height)
    # All are posed before the first is painted: a branch or a shadow lies behind all of them.
    cast: list[tuple[str, Sketch, bool]] = []
    if kind in ("twins", "pair"):
        others = [other for other in CLASSES if other != name]
        second = name if kind == "twins" else others[rng.integers(len(others))]
        middle = rng.uniform(0.42, 0.58)
        for who, columns in ((name, (0, middle)), (second, (middle, 1))):
            cast.append((who, stage.pose(who, rng.uniform(0.75, 0.95), columns=columns), False))
    elif kind == "crowd":  # A herd far off, and one animal in front of it.
        edges = np.linspace(0, 1, rng.integers(6, 9)).tolist()
        herd = [
            stage.pose(name, 0.98, columns=columns, depth=(0.05, 0.35)).strokes
            for columns in itertools.pairwise(edges)
        ]
        cast.append((name, Sketch(itertools.chain.from_iterable(herd)), True))
        cast.append((name, stage.pose(name, rng.uniform(0.5, 0.6), depth=(0.5, 0.95)), False))
    else:  # A tiny one covers less than 2 % of the image: 0.12 squared.
        share = 0.12 if kind == "tiny" else rng.uniform(0.6, 0.9)
        cast.append((name, stage.pose(name, share), False))
    for who, sketch, is_crowd in cast:
        stage.put(who, sketch, is_crowd=is_crowd)
    return stage.photograph(), stage.instances


def _run_lengths(mask: npt.NDArray[np.bool_]) -> dict[str, list[int]]:
    """Returns COCO's uncompressed run lengths: column by column, starting with zeros."""
    column_major = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(column_major, prepend=False))
    counts = np.diff(changes, prepend=0, append=mask.size)
    return {"counts": counts.tolist(), "size": list(mask.shape)}


def _annotation(instance: Instance, *, image_id: int, number: int) -> dict[str, Any]:
    """Returns COCO's record of an instance; box and area are those of its visible pixels."""
    mask = instance.mask
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    polygons = [shape.round(1).ravel().tolist() for shape in instance.outline]
    return {
        "id": image_id * 10 + number,
        "image_id": image_id,
        "category_id": _CATEGORY_IDS[instance.name],
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "area": int(mask.sum()),
        "iscrowd": int(instance.is_crowd),
        "segmentation": _run_lengths(mask) if instance.is_crowd else polygons,
    }


def write_coco(
    directory: Path,
    *,
    num_images: int,
    seed: int = 0,
    image_width: int = 320,
    image_height: int = 240,
) -> None:
    """Writes annotations/instances_SPLIT.json and SPLIT/ID.jpg, SPLIT being train2017 or val2017.

    Image i, its split and its annotations do not depend on num_images. One image in five is for
    validation; a dataset of fewer than 40 may have none.

    Raises:
        ValueError: If num_images is below 1, or a side is too short to show an animal.
    """
    if num_images < 1:
        raise ValueError(f"num_images must be at least 1. Received: num_images={num_images}.")
    if min(image_width, image_height) < _MIN_SIDE:
        raise ValueError(
            f"image_width and image_height must be at least {_MIN_SIDE}. "
            f"Received: image_width={image_width}, image_height={image_height}."
        )
    for folder in ("annotations", *_SPLITS):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    images: dict[str, list[dict[str, Any]]] = {split: [] for split in _SPLITS}
    annotations: dict[str, list[dict[str, Any]]] = {split: [] for split in _SPLITS}
    size = {"width": image_width, "height": image_height}
    for index in range(num_images):
        split, image_id = _split(seed, index), index + 1
        image, instances = draw_image(seed=seed, index=index, **size)
        jpeg, file_name = io.BytesIO(), f"{image_id:012d}.jpg"
        image.save(jpeg, "JPEG", quality=_JPEG_QUALITY)
        files.write_atomically(directory / split / file_name, jpeg.getvalue())
        urls = {"coco_url": "", "flickr_url": ""}
        images[split].append({"id": image_id, "file_name": file_name, **size, "license": 1, **urls})
        annotations[split] += [
            _annotation(instance, image_id=image_id, number=k)
            for k, instance in enumerate(instances)
        ]
    for split in _SPLITS:  # Last, and renamed: where annotations are, their images are.
        content = {
            "info": _INFO,
            "licenses": _LICENSES,
            "images": images[split],
            "annotations": annotations[split],
            "categories": _CATEGORIES,
        }
        path = directory / "annotations" / f"instances_{split}.json"
        files.write_atomically(path, json.dumps(content, separators=(",", ":")))
