"""Inspects one shard against what the manifest says of it; `verification` runs it for each one.

Imports no TensorFlow: each of the verifier's worker processes imports this module.
"""

import errno
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import xxhash

from buckets.failures import ChangedError
from tfrecords import framing, images, schema
from tfrecords.manifest import Shard
from tfrecords.shard_cache import ShardCache
from tfrecords.unusable import UnusableImageError

if TYPE_CHECKING:
    from buckets.store import Store


class Inspection(msgspec.Struct, frozen=True):
    """A shard to inspect.

    Attributes:
        path: Where the shard is; in a bucket, its URL.
        expected: What the manifest says of it.
        num_classes: Number of classes; every label is below it.
        quick: Whether to check size and sha256 alone.
        store: The bucket's folder that it is in; None: it is a file of this machine.
        cache: Keeps a copy of what lies in a bucket.
    """

    path: str
    expected: Shard
    num_classes: int
    quick: bool
    store: "Store | None" = None
    cache: ShardCache | None = None


class Sighting(msgspec.Struct, frozen=True):
    """An image in a shard.

    Attributes:
        record: Its number in the shard.
        content: Digest of its pixels; equal ones mean the same image, however it was encoded.
        photograph: Name and id of the photograph that it is, or is a crop of.
        label: Index into the classes.
    """

    record: int
    content: bytes
    photograph: tuple[str, int]
    label: int


class Report(msgspec.Struct, frozen=True):
    """What was found in a shard: a line for each finding, and its images."""

    file: str
    findings: list[str]
    sightings: list[Sighting]

    @property
    def counts(self) -> Counter[int]:
        """{label: number of examples}, of those that can be read."""
        return Counter(sighting.label for sighting in self.sightings)


def inspect(inspection: Inspection) -> Report:
    """Reads a shard and, unless quick, decodes every image of it."""
    findings: list[str] = []
    sightings: list[Sighting] = []
    try:
        for found in _examine_copy(inspection) if inspection.store else _examine(inspection):
            if isinstance(found, Sighting):
                sightings.append(found)
            else:
                findings.append(found)
    except FileNotFoundError:
        findings = ["missing"]
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise  # Of the copies: it says nothing of the dataset.
        findings = [f"cannot be read: {error.strerror}"]
    name = inspection.expected.file
    return Report(name, [f"{name}: {finding}" for finding in findings], sightings)


def _examine_copy(inspection: Inspection) -> Iterator[Sighting | str]:
    """Like `_examine`, of a shard in a bucket; nothing more is said of one that is another."""
    store, expected = inspection.store, inspection.expected
    cache = inspection.cache or ShardCache()
    assert store
    was_there = cache.has(expected)
    try:
        with cache.held(store, expected, checked=True) as path:
            # What is fetched now is compared as it comes.
            if was_there and not store.holds(expected.file, path):
                yield _difference(store, expected)
            else:
                yield from _examine(msgspec.structs.replace(inspection, path=str(path)))
    except ChangedError:
        yield _difference(store, expected)


def _difference(store: "Store", expected: Shard) -> str:
    """What tells an object from what the manifest says."""
    entry = store.entry(expected.file)
    if entry and entry.size != expected.bytes:
        return f"{entry.size} bytes, the manifest says {expected.bytes}"
    return "its sha256 is not the manifest's"


def _examine(inspection: Inspection) -> Iterator[Sighting | str]:
    """Yields each image that can be read, and a sentence for whatever is wrong."""
    path, expected = Path(inspection.path), inspection.expected
    size = path.stat().st_size
    if size != expected.bytes:
        yield f"{size} bytes, the manifest says {expected.bytes}"
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected.sha256:
            yield "its sha256 is not the manifest's"
    if inspection.quick:
        return
    number = -1
    with path.open("rb") as file:
        for number, offset, data, damage in framing.read_frames(file, size):
            for found in [damage] if damage else _look(number, data, inspection.num_classes):
                is_image = isinstance(found, Sighting)
                yield found if is_image else f"record {number} at byte {offset}: {found}"
    if number + 1 != expected.examples:
        yield f"{number + 1} records, the manifest says {expected.examples}"


def _look(number: int, data: bytes, num_classes: int) -> Iterator[Sighting | str]:
    """Yields the image of a record, and what is wrong with it."""
    try:
        example = schema.parse_example(data)
        pixels = images.decode_stored(example.image)
    except (ValueError, UnusableImageError) as error:
        yield str(error)
        return
    photograph = (example.filename, example.image_id)
    yield Sighting(number, _content(pixels), photograph, example.label)
    if not 0 <= example.label < num_classes:
        yield f"label {example.label}, there are {num_classes} classes"


def _content(pixels: images.Pixels) -> bytes:
    """Returns a digest of the pixels and their shape."""
    return xxhash.xxh3_128_digest(pixels.data) + str(pixels.shape).encode()
