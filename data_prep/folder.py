"""Reads one folder per class, below `train/` and `val/` where they exist (cs231n's layout)."""

import hashlib
from pathlib import Path

from data_prep.config import ALL_CLASSES
from data_prep.photographs import Photograph, Source, check_classes, split_name


def read_folders(folder_dir: str, classes: tuple[str, ...]) -> Source:
    """Reads every file below the class folders; what is no image is rejected when it is decoded.

    Raises:
        ValueError: if there is no such folder, or none for one of the classes.
    """
    root = Path(folder_dir)
    if not root.is_dir():
        raise ValueError(f"folder_dir is not a directory. Received: {folder_dir}.")
    splits = [folder for folder in _folders(root) if split_name(folder.name)] or [root]
    class_folders = [folder for split in splits for folder in _folders(split)]
    known = {folder.name for folder in class_folders}
    if not known:
        raise ValueError(f"folder_dir holds no folder per class. Received: {folder_dir}.")
    if classes == ALL_CLASSES:
        classes = tuple(sorted(known))
    check_classes(classes, known, "folder_dir")
    photographs = [
        _photograph(root, path, classes.index(folder.name))
        for folder in class_folders
        if folder.name in classes
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]
    description = f"Class folders: {len(photographs)} photographs in {folder_dir}"
    return Source(classes, photographs, [], {}, description, "Class folders")


def _folders(parent: Path) -> list[Path]:
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def _photograph(root: Path, path: Path, label: int) -> Photograph:
    name = path.relative_to(root).as_posix()
    return Photograph(
        path=str(path),
        name=name,
        image_id=_id_of(name),
        source_split=split_name(name.partition("/")[0]),
        size=(0, 0),
        objects=(),
        label=label,
        file=name,
    )


def _id_of(name: str) -> int:
    """A folder gives no ids: 63 bits of the name's hash, so that others' names do not matter."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") >> 1
