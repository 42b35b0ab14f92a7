"""Reads photographs sorted into a folder per class, which `folder_layouts` finds."""

from collections import Counter
from pathlib import Path

from data_prep.config import ALL_CLASSES
from data_prep.rules import Rule
from data_prep.sources import folder_layouts
from data_prep.sources.photographs import Photograph, Source, check_classes, hashed_id
from data_prep.sources.trees import tree_of
from tfrecords import junk


def read_folders(folder_dir: str, classes: tuple[str, ...]) -> Source:
    """Reads every file below the class folders; what is no image is rejected when it is decoded.

    Counted but skipped: hidden files, files that are no photographs by their names, and photographs
    outside the class folders.

    Raises:
        ValueError: if there is no such folder, or none for one of the classes.
        BucketError: if it is a URL and cannot be listed.
    """
    tree = tree_of(folder_dir)
    tree.check("folder_dir")
    layout = folder_layouts.find(tree)
    known = {folder.name for folder in layout.folders}
    if not known:
        raise ValueError(f"folder_dir holds no folder per class. Received: {folder_dir}.")
    if classes == ALL_CLASSES or not known.issuperset(classes):
        folder_layouts.refuse_containers(tree, layout)
    if classes == ALL_CLASSES:
        classes = tuple(sorted(known))
    check_classes(classes, known, "folder_dir")
    dropped: Counter[Rule] = Counter()
    photographs = []
    for folder in layout.folders:
        label = classes.index(folder.name) if folder.name in classes else None
        for path in sorted(tree.files(folder.path)) if label is not None else []:
            if junk.may_be_photograph(path):
                photographs.append(_photograph(tree.root, path, label, folder.split))
            else:
                dropped[Rule.NO_PHOTOGRAPH] += 1
    beside = {f.name: folder_layouts.count_photographs(tree, f) for f in layout.beside}
    dropped[Rule.BESIDE_SPLITS] = sum(beside.values())
    dropped[Rule.NO_CLASS_FOLDER] = sum(
        folder_layouts.count_direct(tree, parent) for parent in layout.parents
    )
    description = f"Class folders: {len(photographs)} photographs in {folder_dir}"
    if passed_over := ", ".join(f"{name} ({n})" for name, n in beside.items() if n):
        description += f"; passed over beside the splits: {passed_over}"
    return Source(classes, photographs, [], +dropped, description, "Class folders", tree=tree)


def _photograph(root: Path, path: Path, label: int | None, split: str) -> Photograph:
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
        source_id=name,
    )
