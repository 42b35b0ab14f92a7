"""Makes as many COCO-sized photographs as a benchmark needs out of the real ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from data_prep.config import COCO_ANIMALS
from data_prep.sources import coco
from data_prep.sources.photographs import Photograph

_QUALITY = 97  # Gives files of COCO's mean size, 163 kB.


def repeat(coco_dir: Path, target: Path, count: int) -> None:
    """Writes a COCO folder of `count` photographs, no two with the same bytes.

    They are the real ones, encoded again; each time round a photograph starts at another column.
    Each keeps its boxes' classes and sizes, and one class is left of those that it shows.
    """
    source = [p for p in coco.read_coco_dir(str(coco_dir), COCO_ANIMALS).photographs if p.objects]
    (target / "train2017").mkdir(parents=True)
    (target / "annotations").mkdir()
    content: dict[str, list[Any]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(COCO_ANIMALS)],
    }
    for index in range(count):
        turn, which = divmod(index, len(source))
        _add(content, target, index + 1, source[which], turn)
    path = target / "annotations" / "instances_train2017.json"
    path.write_text(json.dumps(content))


def _add(
    content: dict[str, list[Any]], target: Path, number: int, photograph: Photograph, turn: int
) -> None:
    pixels = simplejpeg.decode_jpeg(Path(photograph.path).read_bytes(), "RGB")
    pixels = np.ascontiguousarray(np.roll(pixels, 37 * turn, axis=1))
    height, width, _ = pixels.shape
    name = f"{number:012d}.jpg"
    jpeg = simplejpeg.encode_jpeg(pixels, _QUALITY, "RGB", "420")
    (target / "train2017" / name).write_bytes(jpeg)
    content["images"].append({"id": number, "file_name": name, "width": width, "height": height})
    label = photograph.objects[0].label
    for instance in (o for o in photograph.objects if o.label == label):
        box = instance.box
        left, top = box.xmin * width, box.ymin * height
        content["annotations"].append(
            {
                "id": len(content["annotations"]) + 1, "image_id": number, "category_id": label,
                "bbox": [left, top, box.xmax * width - left, box.ymax * height - top],
                "area": instance.area * width * height, "iscrowd": int(instance.is_crowd),
            }
        )  # fmt: skip
