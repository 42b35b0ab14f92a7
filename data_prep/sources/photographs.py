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
from data_prep.sources.trees import Tree
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
        size: (width, height) of the annotated image, in pixels; (0, 0) if it has no boxes, or if
            neither the source nor the file tells.
        objects: Every instance of the classes.
        label: Index into the classes, if the source labels whole photographs.
        has_several_labels: Whether the source gives this one several of the classes.
        drawn_as_shown: Whether boxes are measured on the photograph as it is shown, whatever size
            is annotated.
        license: Name or URL of the licence; "" if unknown.
        url: Where it was published; "" if unknown.
        file: Path relative to the source's folder, printable as `originals.shown` makes it; unlike
            `name`, it belongs to this photograph alone.
        download_url: Where the annotations say that its bytes can be fetched; "" if unknown.
        source_id: The source's id if that is text and no number; for class folders, the file.
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
        classes: A label is an index into these names.
        photographs: Every one, with or without an instance of the classes.
        bad_boxes: Annotations that make no sense.
        dropped: {rule: number of annotations or files that it left out}.
        description: What was recognised and where, for a person.
        kind: What was recognised: COCO, the tool that labelled it, class folders.
        tree: What its photographs lie in.
        doubts: What looks wrong with its boxes, so that no crops should be made of them.
        bad_images: Photographs that the source describes in a way that makes no sense.
    """

    classes: tuple[str, ...]
    photographs: list[Photograph]
    bad_boxes: list[Rejection]
    dropped: Mapping[Rule, int]
    description: str
    kind: str
    tree: Tree
    doubts: Sequence[str] = ()
    bad_images: Sequence[Rejection] = ()


def hashed_id(text: str) -> int:
    """Returns an id of 63 bits, from this text alone, for a photograph that has none."""
    return (
        int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big") >> 1
    )


def split_name(name: str) -> str:
    """Returns the TFDS split that a folder or file is named after: `train` for `train2017`.

    Only whole words count: `vallhund` is a dog, and `trainval` would be two splits at once.
    """
    words = re.findall(r"[a-z]+", name.lower())
    found = {split for split, known in _SPLIT_WORDS.items() for word in words if word in known}
    return found.pop() if len(found) == 1 else ""


def check_classes(wanted: Sequence[str], known: Collection[str], where: str) -> None:
    """Refuses a class that the source does not have, and suggests the closest one that it has.

    Raises:
        ValueError: also for a name that does not fit on a line, as TFDS keeps one name on each.
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
    """Whether the name fits on one line of a file; the joiners of Persian and emoji are fine."""
    return (
        name == name.strip()
        and name.splitlines() == [name]
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)
    )


def spelled_alike(names: Collection[str]) -> list[tuple[str, str]]:
    """Returns pairs of names that differ only by case, or by how accents are encoded."""
    first_of: dict[str, str] = {}
    pairs = []
    for name in sorted(names):
        spelled = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        if (first := first_of.setdefault(spelled, name)) != name:
            pairs.append((first, name))
    return pairs
