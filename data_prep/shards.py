"""Builds one shard: the unit of work, of retry and of resume. Imports no TensorFlow.

Any engine can map `build_shard` over the tasks: only paths go in and only numbers come out.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from data_prep.examples import labels, near_duplicates
from data_prep.sources.photographs import Rejection
from tfrecords import files, images, naming, originals, schema, writer
from tfrecords.manifest import Shard
from tfrecords.schema import Box, Object
from tfrecords.unusable import UnavailableImageError, UnusableImageError

_RECORD = 1  # Raised with every change of what an example holds beside its image.


class Stamp(msgspec.Struct, frozen=True):
    """What changes with every change of a file: its size in bytes, its time of change in ns."""

    size: int
    changed: int


def stamp_of(file: BinaryIO) -> Stamp:
    """The stamp of an open file."""
    status = os.fstat(file.fileno())
    return Stamp(status.st_size, status.st_ctime_ns)


# Defaults are left out of what is digested, so that a new one does not make old shards foreign.
class ExampleSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One example to be written.

    Attributes:
        path: Of the photograph.
        file: The same below the source's folder, for a person.
        content: Hex sha256 of the photograph's bytes.
        stamp: Of the photograph when it was digested.
        filename: Of the photograph, as the example stores it.
        image_id: The source's id of the photograph.
        label: Index into the classes.
        size: (width, height) of the annotated image, in pixels.
        objects: Every instance of the classes in the photograph.
        crop: What to cut out, in shares of the photograph.
        drawn_as_shown: Whether the boxes are of the photograph as it is shown, whatever its size.
        decoder: As `heif.extra_decoder` returns it: with it, what can be decoded changes.
    """

    path: str
    file: str
    content: str
    stamp: Stamp
    filename: str
    image_id: int
    label: int
    size: tuple[int, int]
    objects: tuple[Object, ...]
    crop: Box | None
    drawn_as_shown: bool = False
    decoder: str = ""


class ShardTask(msgspec.Struct, frozen=True):
    """Everything that decides a shard's bytes, and where they go."""

    data_dir: str
    file: str
    image_size: int
    examples: list[ExampleSpec]

    @property
    def inputs_digest(self) -> str:
        """Of all that decides the shard's bytes, which a file's place and age do not."""
        examples = [
            msgspec.structs.replace(example, path="", file="", stamp=Stamp(0, 0))
            for example in self.examples
        ]
        inputs = (_RECORD, images.encoding(), self.image_size, examples)
        return hashlib.sha256(msgspec.json.encode(inputs)).hexdigest()


class ShardResult(msgspec.Struct, frozen=True):
    """What came of a task; kept on disk, so that a later build can trust the finished shard.

    Attributes:
        inputs_digest: Of the task.
        shard: The manifest's entry.
        counts: {label: number of examples}.
        image_ids: Of the examples, in order.
        rejections: The photographs that could not be used.
        fingerprints: {file: perceptual hash} of the photographs.
        unavailable: How many of the rejections another try may not meet.
    """

    inputs_digest: str
    shard: Shard
    counts: dict[int, int]
    image_ids: list[int]
    rejections: list[Rejection]
    fingerprints: dict[str, str]
    unavailable: int = 0


def build_shard(task: ShardTask) -> ShardResult:
    """Writes the shard, unless it is already there from the same inputs and undamaged."""
    done = finished(task)
    if done is not None and not done.unavailable:
        return done
    failures: list[tuple[str, UnusableImageError]] = []
    written: list[ExampleSpec] = []
    samples: dict[str, near_duplicates.Sample] = {}
    path = Path(task.data_dir) / task.file
    shard = writer.write_shard(path, _records(task, written, failures, samples))
    fingerprints = near_duplicates.fingerprint_samples(list(samples.values()))
    result = ShardResult(
        inputs_digest=task.inputs_digest,
        shard=shard,
        counts=dict(Counter(example.label for example in written)),
        image_ids=[example.image_id for example in written],
        rejections=[Rejection(file, str(error)) for file, error in failures],
        fingerprints=dict(zip(samples, fingerprints, strict=True)),
        unavailable=sum(isinstance(error, UnavailableImageError) for _, error in failures),
    )
    files.write_atomically(_state_file(task), msgspec.json.encode(result))
    return result


def _records(
    task: ShardTask,
    written: list[ExampleSpec],
    failures: list[tuple[str, UnusableImageError]],
    samples: dict[str, near_duplicates.Sample],
) -> Iterator[bytes]:
    for example in task.examples:
        try:
            yield _record(example, task.image_size, samples)
            written.append(example)
        except UnusableImageError as error:
            failures.append((example.file, error.with_traceback(None)))  # Which holds the pixels.


def _record(
    example: ExampleSpec, image_size: int, samples: dict[str, near_duplicates.Sample]
) -> bytes:
    photograph = _read(example)
    objects, crop = place(example, photograph)

    def look(pixels: images.Pixels) -> None:
        samples[example.file] = near_duplicates.sample(pixels)

    is_new = example.file not in samples  # A photograph may have many crops.
    return schema.serialize_example(
        images.store_jpeg(photograph, image_size, crop, look if is_new else None),
        filename=example.filename,
        image_id=example.image_id,
        label=example.label,
        objects=objects,
    )


def place(example: ExampleSpec, photograph: bytes) -> tuple[list[Object], Box | None]:
    """Returns the objects in shares of the stored image, and the crop of the upright photograph.

    Raises:
        UnusableImageError: with the reason.
    """
    boxes = [instance.box for instance in example.objects]
    if example.crop is not None:
        boxes.append(example.crop)
    if boxes and not example.drawn_as_shown:
        boxes = images.upright_boxes(photograph, boxes, example.size)
    if boxes and example.size == (0, 0):
        raise UnusableImageError("its size was not known when the build was planned")
    crop = boxes.pop() if example.crop is not None else None
    objects = [
        msgspec.structs.replace(instance, box=box)
        for instance, box in zip(example.objects, boxes, strict=True)
    ]
    if crop is not None:
        objects = labels.objects_in(objects, crop)
    return objects, crop


def _read(example: ExampleSpec) -> bytes:
    """Returns the photograph that the plan was made for.

    Raises:
        UnusableImageError: if it can no longer be read.
        OSError: if it is gone, or another one.
    """
    with originals.open_original(example.path) as file:
        is_same = stamp_of(file) == example.stamp
        photograph = file.read()
    # Another stamp alone says little: it may be a copy, seen from another machine.
    if not is_same and hashlib.sha256(photograph).hexdigest() != example.content:
        raise OSError(f"The photograph changed during the build. Received: {example.path}.")
    return photograph


def finished(task: ShardTask) -> ShardResult | None:
    """The result of an earlier build, if its inputs were the same and the bytes still are.

    Raises:
        OSError: if the shard is there and cannot be read.
    """
    path = Path(task.data_dir) / task.file
    try:
        result = msgspec.json.decode(_state_file(task).read_bytes(), type=ShardResult)
        if result.inputs_digest != task.inputs_digest or path.stat().st_size != result.shard.bytes:
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return result if digest == result.shard.sha256 else None
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    except OSError as error:  # Of a bad disk: reading, unlike opening, does not say of which file.
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from error


def was_built_alike(task: ShardTask) -> bool:
    """Whether the shard's last build, finished or damaged since, was from the same inputs."""
    try:
        result = msgspec.json.decode(_state_file(task).read_bytes(), type=ShardResult)
    except (FileNotFoundError, msgspec.MsgspecError):
        return False
    return result.inputs_digest == task.inputs_digest


def _state_file(task: ShardTask) -> Path:
    return Path(task.data_dir) / naming.BUILD_STATE / f"{task.file}.json"
