"""Reads one folder per class, below `train/` and `val/` where they exist (cs231n's layout)."""

from collections import Counter
from pathlib import Path

from data_prep.config import ALL_CLASSES
from data_prep.sources import class_folders, junk
from data_prep.sources.photographs import Photograph, Source, check_classes, hashed_id


def read_folders(folder_dir: str, classes: tuple[str, ...]) -> Source:
    """Reads every file below the class folders; what is no image is rejected when it is decoded.

    Files that by their names are no photographs are counted and passed over, hidden ones too; so
    are photographs outside the class folders.

    Raises:
        ValueError: if there is no such folder, or none for one of the classes.
    """
    root = Path(folder_dir)
    if not root.is_dir():
        raise ValueError(f"folder_dir is not a directory. Received: {folder_dir}.")
    layout = class_folders.find(root)
    known = {folder.name for folder in layout.folders}
    if not known:
        raise ValueError(f"folder_dir holds no folder per class. Received: {folder_dir}.")
    if classes == ALL_CLASSES or not known.issuperset(classes):
        class_folders.refuse_containers(root, layout)
    if classes == ALL_CLASSES:
        classes = tuple(sorted(known))
    check_classes(classes, known, "folder_dir")
    dropped: Counter[str] = Counter()
    photographs = []
    for folder in layout.folders:
        label = classes.index(folder.name) if folder.name in classes else None
        for path in sorted(class_folders.files(folder.path)) if label is not None else []:
            if junk.may_be_photograph(path):
                photographs.append(_photograph(root, path, label, folder.split))
            else:
                dropped["no_photograph_by_name"] += 1
    beside = {f.name: class_folders.count_photographs(f) for f in layout.beside}
    dropped["beside_the_splits"] = sum(beside.values())
    dropped["in_no_class_folder"] = sum(map(class_folders.count_direct, layout.parents))
    description = f"Class folders: {len(photographs)} photographs in {folder_dir}"
    if passed_over := ", ".join(f"{name} ({n})" for name, n in beside.items() if n):
        description += f"; passed over beside the splits: {passed_over}"
    return Source(classes, photographs, [], +dropped, description, "Class folders")


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
