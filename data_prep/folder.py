"""Reads one folder per class, below `train/` and `val/` where they exist (cs231n's layout)."""

import mimetypes
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from data_prep.config import ALL_CLASSES
from data_prep.photographs import Photograph, Source, check_classes, hashed_id, split_name

# What systems and tools leave among photographs.
_JUNK_FOLDERS = frozenset({"__macosx", "__pycache__", "@eadir", "$recycle.bin"})
_JUNK_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
_NO_PHOTOGRAPHS = frozenset({".cfg", ".ini", ".ipynb", ".log", ".md", ".toml", ".yaml", ".yml"})
_TYPES = mimetypes.MimeTypes()  # Python's own: the same on every machine.


def read_folders(folder_dir: str, classes: tuple[str, ...]) -> Source:
    """Reads every file below the class folders; what is no image is rejected when it is decoded.

    Files that by their names are no photographs are counted and passed over, hidden ones too.

    Raises:
        ValueError: if there is no such folder, or none for one of the classes.
    """
    root = Path(folder_dir)
    if not root.is_dir():
        raise ValueError(f"folder_dir is not a directory. Received: {folder_dir}.")
    splits = _splits(root)
    class_folders = [folder for split in splits or [root] for folder in _folders(split)]
    known = {folder.name for folder in class_folders}
    if not known:
        raise ValueError(f"folder_dir holds no folder per class. Received: {folder_dir}.")
    if classes == ALL_CLASSES:
        classes = tuple(sorted(known))
    check_classes(classes, known, "folder_dir")
    dropped: Counter[str] = Counter()
    photographs = []
    for folder in class_folders:
        for path in sorted(_files(folder)) if folder.name in classes else []:
            if _may_be_photograph(path):
                split = split_name(path.relative_to(root).parts[0]) if splits else ""
                photographs.append(_photograph(root, path, classes.index(folder.name), split))
            else:
                dropped["no_photograph_by_name"] += 1
    if splits:
        beside = [folder for folder in _folders(root) if folder not in splits]
        dropped["beside_the_splits"] = sum(_may_be_photograph(p) for f in beside for p in _files(f))
    description = f"Class folders: {len(photographs)} photographs in {folder_dir}"
    return Source(classes, photographs, [], +dropped, description, "Class folders")


def _splits(root: Path) -> list[Path]:
    """The folders that are splits, by their names; none where a folder beside them is a class.

    Raises:
        ValueError: if some look like splits and others like classes.
    """
    named = [folder for folder in _folders(root) if split_name(folder.name)]
    others = [folder for folder in _folders(root) if folder not in named]
    classes = [folder.name for folder in others if _holds_photographs(folder)]
    if not classes:
        return named
    of_classes = [f for f in named if _folders(f) and not _holds_photographs(f)]
    if len({split_name(folder.name) for folder in of_classes}) > 1:
        raise ValueError(
            "folder_dir holds splits and classes side by side. Received: "
            f"{', '.join(folder.name for folder in of_classes)}, with a folder per class, beside "
            f"{', '.join(classes)}, with photographs. Move the one or the other away."
        )
    return []


def _folders(parent: Path) -> list[Path]:
    return sorted(p for p in parent.iterdir() if p.is_dir() and not _is_junk(p))


def _files(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is no folder, but not below what systems leave there.

    What cannot be read, a link to nowhere or a pipe, is found to be so where it is opened.

    Raises:
        OSError: if a folder's files cannot be listed.
    """
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not _is_junk(Path(name))]
        yield from (Path(parent, name) for name in names)


def _raise(error: OSError) -> None:
    raise error


def _holds_photographs(folder: Path) -> bool:
    """Whether there are some in it, not only in folders below."""
    _, _, names = next(os.walk(folder, onerror=_raise))
    return any(_may_be_photograph(Path(name)) for name in names)


def _is_junk(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name.lower() in _JUNK_FOLDERS


def _may_be_photograph(path: Path) -> bool:
    """Whether the name does not speak against it; its bytes have the last word."""
    if path.name.startswith(".") or path.name.lower() in _JUNK_FILES:
        return False
    kind, packed = _TYPES.guess_type(path.name.lower())
    is_other = packed or (kind is not None and not kind.startswith("image/"))
    return not is_other and path.suffix.lower() not in _NO_PHOTOGRAPHS


def _photograph(root: Path, path: Path, label: int, split: str) -> Photograph:
    name = path.relative_to(root).as_posix()
    return Photograph(
        path=str(path),
        name=name,
        image_id=hashed_id(name),
        source_split=split,
        size=(0, 0),
        objects=(),
        label=label,
        file=name,
    )
