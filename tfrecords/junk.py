"""Tells by its name what is no photograph: what systems and tools leave among photographs."""

import mimetypes
from pathlib import Path

_FOLDERS = frozenset({"__macosx", "__pycache__", "@eadir", "$recycle.bin"})
_FILES = frozenset({"icon\r", "readme", "license", "licence", "copying"})
_ENDINGS = frozenset(
    {".aae", ".bak", ".cfg", ".crdownload", ".db", ".download", ".info", ".ini", ".ipynb", ".lnk",
     ".log", ".md", ".nomedia", ".npy", ".npz", ".part", ".partial", ".pkl", ".swp", ".tmp",
     ".toml", ".url", ".xmp", ".yaml", ".yml"}
)  # fmt: skip
_PHOTOGRAPHS = frozenset({".avif", ".heic", ".heif", ".webp"})  # That Python 3.11 does not know.
_DRAWINGS = frozenset({".eps", ".ps"})  # To Python programs, to Pillow images.
_TYPES = mimetypes.MimeTypes()  # Python's own: the same on every machine.


def is_folder_of_none(folder: Path) -> bool:
    """Whether a folder holds no photographs of its owner's, by its name."""
    return folder.name.startswith(".") or folder.name.lower() in _FOLDERS


def may_be_photograph(path: Path) -> bool:
    """Whether the name does not speak against it; its bytes have the last word."""
    name = path.name.lower()
    if name.startswith(".") or name.endswith("~") or name in _FILES:
        return False
    kind, packed = _TYPES.guess_type(name)
    is_other = packed or (kind is not None and not kind.startswith("image/"))
    ending = path.suffix.lower()
    return ending in _DRAWINGS or (not is_other and ending not in _ENDINGS)


def by_name(path: Path) -> bool | None:
    """Whether a file is a photograph, as far as its name says; None: its bytes have to."""
    if is_photograph(path):
        return True
    return None if may_be_photograph(path) else False


def is_photograph(path: Path) -> bool:
    """Whether the name says so."""
    kind, packed = _TYPES.guess_type(path.name.lower())
    is_image = (kind or "").startswith("image/") or path.suffix.lower() in _PHOTOGRAPHS
    return is_image and not packed and not path.name.startswith(".")
