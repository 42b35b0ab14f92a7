"""A photograph and what its source says of it: what every source is read into."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from tfrecords import originals
from tfrecords.schema import Object


class Photograph(msgspec.Struct, frozen=True):
    """One photograph of the source.

    Attributes:
        path: Where its bytes are.
        name: Path relative to the image folder, as the source writes it.
        image_id: The source's id.
        source_split: The split that the source puts it in; "" where it has none.
        size: (width, height) of the annotated image, in pixels; (0, 0) where it has no boxes.
        objects: Every instance of the classes.
        label: Index into the classes, where the source labels whole photographs.
        license: Name or URL of the licence; "" where unknown.
        url: Where it was published; "" where unknown.
        file: Path relative to the source's folder, for a person, and so as `originals.shown` shows
            it: unlike `name`, no other photograph has it.
        download_url: Where the annotations say that its bytes can be fetched; "" where unknown.
    """

    path: str
    name: str
    image_id: int
    source_split: str
    size: tuple[int, int]
    objects: tuple[Object, ...]
    label: int | None = None
    license: str = ""
    url: str = ""
    file: str = ""
    download_url: str = ""

    def __post_init__(self) -> None:
        if not self.file.isprintable():
            msgspec.structs.force_setattr(self, "file", originals.shown(self.file))


class Rejection(msgspec.Struct, frozen=True):
    """A photograph, or one box of it, that cannot be used; a line of `rejected.jsonl`."""

    file: str
    reason: str
    annotation_id: int | None = None


class Source(NamedTuple):
    """Everything a source holds.

    Attributes:
        classes: Names; a label is an index into them.
        photographs: Every one, with or without an instance of the classes.
        bad_boxes: The boxes that make no sense.
        dropped: {rule: number of annotations that it left out}.
        description: What was recognised and where, for a person.
        kind: What was recognised: COCO, the tool that labelled it, class folders.
    """

    classes: tuple[str, ...]
    photographs: list[Photograph]
    bad_boxes: list[Rejection]
    dropped: Mapping[str, int]
    description: str
    kind: str


def split_name(name: str) -> str:
    """`train` for `train2017`, `val` for `valid`: a source's folder name as a split of TFDS."""
    for split, prefixes in {"train": ("train",), "val": ("val",), "test": ("test",)}.items():
        if name.lower().startswith(prefixes):
            return split
    return ""


def check_classes(wanted: Sequence[str], known: Collection[str], where: str) -> None:
    """Refuses a class that the source does not have, and names the nearest that it has."""
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(sorted(known))}."
            raise ValueError(f"{where} has no class {name!r}. Received: classes={name}. {hint}")
