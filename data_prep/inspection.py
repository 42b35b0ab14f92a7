"""Inspects one shard against what the manifest says of it. Imports no TensorFlow."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import xxhash

from tfrecords import framing, images, schema
from tfrecords.manifest import Shard
from tfrecords.unusable import UnusableImageError


class Inspection(msgspec.Struct, frozen=True):
    """What is to be inspected.

    Attributes:
        path: Of the shard.
        expected: What the manifest says of it.
        num_classes: Labels are below it.
        quick: Whether size and sha256 are enough.
    """

    path: str
    expected: Shard
    num_classes: int
    quick: bool


class Sighting(msgspec.Struct, frozen=True):
    """An image in a shard.

    Attributes:
        record: Its number in the shard.
        content: Digest of its pixels: equal ones mean the same image, however it was encoded.
        photograph: The name and the id of the photograph that it is, or is a crop of.
        label: Index into the classes.
    """

    record: int
    content: bytes
    photograph: tuple[str, int]
    label: int


class Report(msgspec.Struct):
    """What was found in a shard: a line for each finding, its labels and its images."""

    file: str
    findings: list[str]
    counts: Counter[int]
    sightings: list[Sighting]


def inspect(inspection: Inspection) -> Report:
    """Reads a shard and, unless quick, decodes every image of it."""
    report = Report(inspection.expected.file, [], Counter(), [])
    try:
        report.findings += [f"{report.file}: {f}" for f in _findings(inspection, report)]
    except FileNotFoundError:
        report.findings.append(f"{report.file}: missing")
    except OSError as error:
        report.findings.append(f"{report.file}: cannot be read: {error.strerror}")
    return report


def _findings(inspection: Inspection, report: Report) -> Iterator[str]:
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
            problem = damage or _look(number, data, inspection.num_classes, report)
            if problem:
                yield f"record {number} at byte {offset}: {problem}"
    if number + 1 != expected.examples:
        yield f"{number + 1} records, the manifest says {expected.examples}"


def _look(number: int, data: bytes, num_classes: int, report: Report) -> str:
    """Counts an example; returns what is wrong with it, "" where nothing is."""
    try:
        example = schema.parse_example(data)
        pixels = images.decode_stored(example.image)
    except (ValueError, UnusableImageError) as error:
        return str(error)
    photograph = (example.filename, example.image_id)
    report.sightings.append(Sighting(number, _content(pixels), photograph, example.label))
    report.counts[example.label] += 1
    if not 0 <= example.label < num_classes:
        return f"label {example.label}, there are {num_classes} classes"
    return ""


def _content(pixels: images.Pixels) -> bytes:
    """Digest of size and pixels."""
    return xxhash.xxh3_128_digest(pixels.data) + str(pixels.shape).encode()
