"""A photograph and what its source says of it: what every source is read into."""

import difflib
import hashlib
import re
import sys
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from data_prep.rules import Rule
from tfrecords import originals
from tfrecords.schema import Object

_SPLIT_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "minival", "valminusminival"),
    "test": ("test", "testing"),
}


class Photograph(msgspec.Struct, frozen=True):
    """One photograph of the source.

    Attributes:
        path: Where its bytes are.
        name: Path relative to the image folder, as the source writes it.
        image_id: The source's id.
        source_split: The split that the source puts it in; "" where it has none.
        size: (width, height) of the annotated image, in pixels; (0, 0) where it has no boxes, or
            where neither the source nor the file says it.
        objects: Every instance of the classes.
        label: Index into the classes, where the source labels whole photographs.
        has_several_labels: Whether it labels this one with several of the classes.
        drawn_as_shown: Whether the boxes are shares of the photograph as it is shown, whatever
            size is annotated.
        license: Name or URL of the licence; "" where unknown.
        url: Where it was published; "" where unknown.
        file: Path relative to the source's folder, for a person, and so as `originals.shown` shows
            it: unlike `name`, no other photograph has it.
        download_url: Where the annotations say that its bytes can be fetched; "" where unknown.
        source_id: The source's id, where that is text that is no number; of class folders, the
            file.
    """

    path: str
    name: str
    image_id: int
    source_split: str
    size: tuple[int, int]
    objects: tuple[Object, ...]
    label: int | None = None
    has_several_labels: bool = False
    drawn_as_shown: bool = False
    license: str = ""
    url: str = ""
    file: str = ""
    download_url: str = ""
    source_id: str = ""

    def __post_init__(self) -> None:
        if not self.file.isprintable():
            msgspec.structs.force_setattr(self, "file", originals.shown(self.file))


class Rejection(msgspec.Struct, frozen=True):
    """A photograph, or one box of it, that cannot be used; a line of `rejected.jsonl`."""

    file: str
    reason: str
    annotation_id: int | str | None = None


class Source(NamedTuple):
    """Everything a source holds.

    Attributes:
        classes: Names; a label is an index into them.
        photographs: Every one, with or without an instance of the classes.
        bad_boxes: The annotations that make no sense.
        dropped: {rule: number of annotations that it left out}.
        description: What was recognised and where, for a person.
        kind: What was recognised: COCO, the tool that labelled it, class folders.
        doubts: What is suspicious of its boxes, so that no crops should be made of them.
        bad_images: The photographs of which the source says nothing that makes sense.
    """

    classes: tuple[str, ...]
    photographs: list[Photograph]
    bad_boxes: list[Rejection]
    dropped: Mapping[Rule, int]
    description: str
    kind: str
    doubts: Sequence[str] = ()
    bad_images: Sequence[Rejection] = ()


def hashed_id(text: str) -> int:
    """An id of 63 bits for what has none: of this text alone, so that others do not matter."""
    return (
        int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big") >> 1
    )


def split_name(name: str) -> str:
    """`train` for `train2017`, `val` for `valid`: a source's folder or file name as a TFDS split.

    Whole words alone tell: `vallhund` is a dog, and `trainval` two splits at once.
    """
    words = re.findall(r"[a-z]+", name.lower())
    found = {split for split, known in _SPLIT_WORDS.items() for word in words if word in known}
    return found.pop() if len(found) == 1 else ""


def check_classes(wanted: Sequence[str], known: Collection[str], where: str) -> None:
    """Refuses a class that the source does not have, and names the nearest that it has.

    Raises:
        ValueError: also for a name that TFDS, which keeps a name a line, would read as another.
    """
    for first, second in spelled_alike(known):
        print(
            f"Warning: {where} has the classes {first!r} and {second!r}, which differ by their "
            "spelling alone. Rename one if they are the same.",
            file=sys.stderr,
            flush=True,
        )
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(sorted(known))}."
            raise ValueError(
                f"{where} has no class {name!r}. Received: classes={name}. {hint} --classes=all "
                "takes every one."
            )
        if not _fits_a_line(name):
            raise ValueError(
                "A class must have a name without line breaks, without control characters and "
                "without blanks at its ends: "
                f"TFDS keeps it on a line. Received: {name!r} in {where}. Rename it there."
            )


def _fits_a_line(name: str) -> bool:
    """Whether a line of a file can hold it. Joiners of Persian and emoji are no matter."""
    return (
        name == name.strip()
        and name.splitlines() == [name]
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)
    )


def spelled_alike(names: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ by case, or by how their accents are written, alone."""
    first_of: dict[str, str] = {}
    pairs = []
    for name in sorted(names):
        spelled = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        if (first := first_of.setdefault(spelled, name)) != name:
            pairs.append((first, name))
    return pairs
