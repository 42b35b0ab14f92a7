"""Recognises how a folder of detections is laid out: as COCO itself, or as a tool's export.

The exports are described at https://docs.cvat.ai/docs/dataset_management/formats/format-coco,
https://labelstud.io/guide/export#COCO and https://roboflow.com/formats/coco-json.
"""

import functools
import os
import posixpath
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from buckets import urls
from data_prep.sources.photographs import split_name
from data_prep.sources.trees import Tree

LABEL_STUDIO = "Label Studio"
LOOKED_FOR = (
    "annotations/instances_*.json (COCO, CVAT)",
    "result.json with images/ (Label Studio)",
    "train/_annotations.coco.json, valid/, test/ (Roboflow)",
)


class AnnotationFile(NamedTuple):
    """One annotation file and where its photographs may lie.

    Attributes:
        path: Where the annotation file is.
        shown: The same as messages name it.
        tree: What its photographs lie in.
        folders: Where its photographs may lie, the likeliest first; some may not exist.
        split: The source's split; "" where it has none.
        is_loose: Whether a file_name is a path on the machine where it was labelled, so that only
            its end is valid here.
        drawn_as_shown: Whether the tool measures boxes on the photograph as it is shown, whatever
            width and height it writes.
        prefix: What each file_name repeats of the end of the folder's path.
    """

    path: Path
    shown: str
    tree: Tree
    folders: list[Path]
    split: str
    is_loose: bool = False
    drawn_as_shown: bool = False
    prefix: str = ""

    def __str__(self) -> str:
        return self.shown

    def file_name(self, written: str) -> str:
        """Returns the path below the image folder for a `file_name` of the annotations."""
        name = written.replace("\\", "/")
        if urls.is_remote(name) and not self.is_loose:
            places = [self.tree.shown(folder) for folder in self.folders]
            return next((name[len(p) + 1 :] for p in places if urls.lies_in(name, p)), name)
        if name.startswith("/") and not self.is_loose:
            return next((below for folder in self.folders if (below := _below(name, folder))), name)
        if not self.is_loose:
            name = name.removeprefix("./").removeprefix(self.prefix)
            return posixpath.normpath(name) if "/.." in name else name
        _, _, below_images = name.rpartition("images/")
        end = PurePosixPath(below_images or name)
        is_there = any(self.tree.is_file(folder / end) for folder in self.folders)
        if is_there and ".." not in end.parts:
            return str(end)
        return end.name

    def settle(self, names: Sequence[str]) -> "AnnotationFile":
        """Returns the same with the one folder that holds the photographs.

        That is the first to hold all of the names, else the first to hold one of them, else the
        likeliest.
        """
        repeated = [(f, p) for f in self.folders for p in _repeated(f, names)]
        trials = [
            self._replace(folders=[folder], prefix=prefix)
            for folder, prefix in [(folder, "") for folder in self.folders] + repeated
        ]
        for found in (all, any):
            for trial in trials:
                paths = [trial.folders[0] / trial.file_name(name) for name in names]
                if names and found(map(self.tree.is_file, paths)):
                    return trial
        # Not the root, the last, where a download would mix the photographs of several files.
        existing = (folder for folder in self.folders[:-1] if self.tree.is_folder(folder))
        return self._replace(folders=[next(existing, self.folders[0])])


def _below(name: str, folder: Path) -> str | None:
    """Returns an absolute path relative to the folder, or None if it lies outside.

    Either of them may contain a link.
    """
    name = os.path.normpath(name)
    directory, _, last = name.rpartition("/")
    for written in (name, f"{_real(directory)}/{last}"):
        for base in (str(folder.absolute()), _real(str(folder))):
            if written.startswith(f"{base}/"):
                return written.removeprefix(f"{base}/")
    return None


@functools.lru_cache
def _real(directory: str) -> str:
    """Resolves links; cached, as a file names thousands of photographs in few folders."""
    return str(Path(directory).resolve())


def _repeated(folder: Path, names: Sequence[str]) -> list[str]:
    """Returns what names repeat of the folder's end: `a/b/` for `a/b/1.jpg` in `x/a/b`."""
    parts = folder.absolute().parts
    endings = ["/".join(parts[-count:]) + "/" for count in range(1, len(parts))]
    written = [name.replace("\\", "/").removeprefix("./") for name in names]
    return [ending for ending in endings if any(name.startswith(ending) for name in written)]


class Layout(NamedTuple):
    """The tool that lays folders out like this, and its annotation files in a fixed order."""

    tool: str
    files: list[AnnotationFile]


def is_export(coco_dir: str) -> bool:
    """Whether a folder is a tool's export, with annotations in another place than COCO's own."""
    tree = Tree(coco_dir)
    return bool(_label_studio(tree).files or _roboflow(tree).files)


def recognise(tree: Tree) -> Layout:
    """Finds the annotation files of a folder.

    Raises:
        ValueError: with what was looked for, if the folder has none of the known layouts.
    """
    tree.check("coco_dir")
    for layout in (_coco(tree), _label_studio(tree), _roboflow(tree)):
        if layout.files:
            return layout
    download = "" if urls.is_remote(tree.place) else ", or fetch COCO with --download"
    raise ValueError(
        f"coco_dir holds no {'; no '.join(LOOKED_FOR)}. Received: {tree.place}. Name the files "
        f"with --annotations and --images_dir{download}."
    )


def _coco(tree: Tree) -> Layout:
    files = [
        AnnotationFile(path, tree.shown(path), tree, _image_folders(tree.root, name), split)
        for path in tree.glob("annotations/instances_*.json")
        for name in [path.stem.removeprefix("instances_")]
        for split in [split_name(name)]
    ]
    is_cvat = any(file.path.stem == "instances_default" for file in files)
    return Layout("CVAT" if is_cvat else "COCO", files)


def _image_folders(root: Path, name: str) -> list[Path]:
    return [root / name, root / "images" / name, root / "images", root]


def _label_studio(tree: Tree) -> Layout:
    path, images = tree.root / "result.json", tree.root / "images"
    shown = tree.shown(path)
    file = AnnotationFile(path, shown, tree, [images], "", is_loose=True, drawn_as_shown=True)
    return Layout(LABEL_STUDIO, [file] if tree.is_file(path) else [])


def _roboflow(tree: Tree) -> Layout:
    return Layout(
        "Roboflow",
        [
            AnnotationFile(
                path, tree.shown(path), tree, [path.parent], split_name(path.parent.name)
            )
            for path in tree.glob("*/_annotations.coco.json")
        ],
    )
