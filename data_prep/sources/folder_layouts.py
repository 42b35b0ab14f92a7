"""Recognises how class folders are laid out: with or without splits above or below them."""

from pathlib import Path
from typing import NamedTuple

from data_prep.sources.photographs import split_name
from data_prep.sources.trees import Tree
from tfrecords import junk

# A folder so called that holds folders alone is what a dataset lies in, not a class of it.
_CONTAINERS = frozenset(
    {"archive", "data", "dataset", "datasets", "image", "images", "img", "imgs", "jpegimages",
     "photo", "photographs", "photos", "pictures", "raw"}
)  # fmt: skip


class ClassFolder(NamedTuple):
    """The photographs of one class, in one split; the split is "" where the source has none."""

    path: Path
    name: str
    split: str


class Layout(NamedTuple):
    """How a source lays its folders out.

    Attributes:
        folders: The class folders; a class has one for each split.
        parents: The folders that hold them; a photograph directly in one has no class.
        beside: Folders next to the splits that are no split themselves.
    """

    folders: list[ClassFolder]
    parents: list[Path]
    beside: list[Path]


def find(tree: Tree) -> Layout:
    """Finds the class folders by the names of folders, and by where photographs are.

    Raises:
        ValueError: if some folders look like splits and others like classes.
    """
    tops = _folders(tree, tree.root)
    if splits := _splits(tree, tops):
        beside = [folder for folder in tops if folder not in splits]
        found = [
            ClassFolder(f, f.name, split_name(s.name)) for s in splits for f in _folders(tree, s)
        ]
        return Layout(found, [tree.root, *splits], beside)
    if classes := _with_splits_below(tree, tops):
        found = [
            ClassFolder(s, f.name, split_name(s.name)) for f in classes for s in _folders(tree, f)
        ]
        return Layout(found, [tree.root], [])
    return Layout([ClassFolder(folder, folder.name, "") for folder in tops], [tree.root], [])


def _splits(tree: Tree, tops: list[Path]) -> list[Path]:
    """Returns the folders named like splits; none where a folder beside them is a class.

    Raises:
        ValueError: if some look like splits and others like classes.
    """
    named = [folder for folder in tops if split_name(folder.name)]
    others = [folder for folder in tops if folder not in named]
    classes = [folder.name for folder in others if _holds_photographs(tree, folder)]
    if not classes:
        return named
    of_classes = [f for f in named if _folders(tree, f) and not _holds_photographs(tree, f)]
    if len({split_name(folder.name) for folder in of_classes}) > 1:
        raise ValueError(
            "folder_dir holds splits and classes side by side. Received: "
            f"{', '.join(folder.name for folder in of_classes)}, with a folder per class, beside "
            f"{', '.join(classes)}, with photographs. Move the one or the other away."
        )
    return []


def _with_splits_below(tree: Tree, tops: list[Path]) -> list[Path]:
    """Returns the classes that have a folder for each split; none where there are no splits.

    Raises:
        ValueError: if some classes have splits and others have not.
    """
    classes = [folder for folder in tops if _is_of_splits(tree, folder)]
    if len({split_name(split.name) for folder in classes for split in _folders(tree, folder)}) < 2:
        return []
    others = [f.name for f in tops if f not in classes and count_photographs(tree, f)]
    if others:
        raise ValueError(
            "folder_dir holds classes with splits and classes without side by side. Received: "
            f"{', '.join(folder.name for folder in classes)}, with folders for splits alone, "
            f"beside {', '.join(others)}. Sort the photographs of these into splits too, or move "
            "the one or the other away."
        )
    return classes


def _is_of_splits(tree: Tree, folder: Path) -> bool:
    """Whether it holds only splits, with photographs in them rather than class folders."""
    below = _folders(tree, folder)
    return (
        bool(below)
        and not _holds_photographs(tree, folder)
        and all(split_name(split.name) for split in below)
        and any(_holds_photographs(tree, split) for split in below)
    )


def refuse_containers(tree: Tree, layout: Layout) -> None:
    """Refuses a folder that holds a whole dataset where a class is expected, and says what to give.

    Folders below a class may be albums, so only what is clearly no class is refused.

    Raises:
        ValueError: if there is such a folder.
    """
    is_alone = len({folder.name for folder in layout.folders}) == 1
    for path, name, split in layout.folders:
        if (
            path.name == name
            and not _holds_photographs(tree, path)
            and (
                is_alone
                or name.lower() in _CONTAINERS
                or any(_is_split_of_classes(tree, below) for below in _folders(tree, path))
            )
        ):
            below = [
                folder.name for folder in _folders(tree, path) if count_photographs(tree, folder)
            ]
            if below:
                where = path.relative_to(tree.root).as_posix()
                mend = (
                    "Move them up one folder." if split else f"Use --folder_dir={tree.shown(path)}."
                )
                raise ValueError(
                    f"{where} is no class: it holds no photographs but the folders "
                    f"{', '.join(below)}. Received: folder_dir={tree.shown(tree.root)}. {mend}"
                )


def _is_split_of_classes(tree: Tree, folder: Path) -> bool:
    return bool(
        split_name(folder.name)
        and not _holds_photographs(tree, folder)
        and any(_holds_photographs(tree, below) for below in _folders(tree, folder))
    )


def count_photographs(tree: Tree, folder: Path) -> int:
    """Counts the files below a folder that may be photographs by their names."""
    return sum(map(junk.may_be_photograph, tree.files(folder)))


def count_direct(tree: Tree, folder: Path) -> int:
    """Counts the photographs directly in a folder, by their names."""
    return sum(junk.is_photograph(Path(name)) for name in tree.names(folder))


def _folders(tree: Tree, parent: Path) -> list[Path]:
    return [folder for folder in tree.folders(parent) if not junk.is_folder_of_none(folder)]


def _holds_photographs(tree: Tree, folder: Path) -> bool:
    """Whether photographs lie directly in it, not only in folders below."""
    return any(junk.may_be_photograph(Path(name)) for name in tree.names(folder))
