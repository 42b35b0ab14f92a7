"""A tiny COCO folder that tests bend into each broken form."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = {17: "cat", 18: "dog"}
CLASSES = ("cat", "dog")


def jpeg(seed: int, size: tuple[int, int] = (32, 24), orientation: int | None = None) -> bytes:
    """A small photograph; another seed gives other content. The size is that before EXIF turns."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif} if orientation else {}
    Image.fromarray(noise).save(out, "JPEG", **options)
    return out.getvalue()


def instances(count: int = 10) -> dict[str, Any]:
    """The content of an annotation file: cats and dogs in turn, each filling a quarter."""
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 32, "height": 24, "license": 1}
            for i in range(1, count + 1)
        ],
        "annotations": [
            {
                "id": i, "image_id": i, "category_id": 17 + i % 2, "bbox": [4, 4, 16, 12],
                "area": 150, "iscrowd": 0, "segmentation": [],
            }
            for i in range(1, count + 1)
        ],
        "categories": [{"id": i, "name": name} for i, name in CATEGORIES.items()],
        "licenses": [{"id": 1, "name": "CC0", "url": "https://example.org/cc0"}],
    }  # fmt: skip


def write(root: Path, content: Any = None, name: str = "train2017") -> Path:
    """Writes the annotation file and a photograph for each image that it lists."""
    content = instances() if content is None else content
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / name).mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "annotations" / f"instances_{name}.json").write_text(text)
    if isinstance(content, dict):
        for number, image in enumerate(content.get("images", [])):
            file = (image or {}).get("file_name")
            if file and ".." not in file:
                (root / name / file).write_bytes(jpeg(number))
    return root
