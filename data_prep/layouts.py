"""Recognises how a folder of detections is laid out: COCO's own way, or a labelling tool's export.

The exports are described at https://docs.cvat.ai/docs/dataset_management/formats/format-coco,
https://labelstud.io/guide/export#COCO and https://roboflow.com/formats/coco-json.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_prep.photographs import split_name

LOOKED_FOR = (
    "annotations/instances_*.json (COCO, CVAT)",
    "result.json with images/ (Label Studio)",
    "train/_annotations.coco.json, valid/, test/ (Roboflow)",
)


class AnnotationFile(NamedTuple):
    """One annotation file and where its photographs may lie.

    Attributes:
        path: Of the file.
        folders: Of the photographs, the likeliest first; some may not exist.
        split: Of the source; "" where it has none.
        is_loose: Whether a file_name is a path of the labelling machine, of which only the end
            holds here.
    """

    path: Path
    folders: list[Path]
    split: str
    is_loose: bool = False

    def file_name(self, written: str) -> str:
        """The path below the image folder for a `file_name` as the annotations write it."""
        name = written.replace("\\", "/")
        if not self.is_loose:
            return name
        _, _, below_images = name.rpartition("images/")
        below = PurePosixPath(below_images or name)
        if any((folder / below).is_file() for folder in self.folders) and ".." not in below.parts:
            return str(below)
        return below.name


class Layout(NamedTuple):
    """The tool whose layout it is, and its annotation files in a fixed order."""

    tool: str
    files: list[AnnotationFile]


def recognise(coco_dir: str) -> Layout:
    """Finds the annotation files of a folder.

    Raises:
        ValueError: with what was looked for, if the folder has none of the known layouts.
    """
    root = Path(coco_dir)
    if not root.is_dir():
        raise ValueError(f"coco_dir is not a directory. Received: {coco_dir}.")
    for layout in (_coco(root), _label_studio(root), _roboflow(root)):
        if layout.files:
            return layout
    raise ValueError(
        f"coco_dir holds no {'; no '.join(LOOKED_FOR)}. Received: {coco_dir}. Name the files with "
        "--annotations and --images_dir, or fetch COCO with --download."
    )


def _coco(root: Path) -> Layout:
    files = [
        AnnotationFile(path, _image_folders(root, name), split_name(name))
        for path in sorted(root.glob("annotations/instances_*.json"))
        for name in [path.stem.removeprefix("instances_")]
    ]
    is_cvat = any(file.path.stem == "instances_default" for file in files)
    return Layout("CVAT" if is_cvat else "COCO", files)


def _image_folders(root: Path, name: str) -> list[Path]:
    return [root / name, root / "images" / name, root / "images", root]


def _label_studio(root: Path) -> Layout:
    path, images = root / "result.json", root / "images"
    files = [AnnotationFile(path, [images], "", is_loose=True)] if path.is_file() else []
    return Layout("Label Studio", files)


def _roboflow(root: Path) -> Layout:
    paths: Iterable[Path] = sorted(root.glob("*/_annotations.coco.json"))
    return Layout(
        "Roboflow",
        [AnnotationFile(path, [path.parent], split_name(path.parent.name)) for path in paths],
    )
