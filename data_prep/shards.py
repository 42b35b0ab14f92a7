"""Builds one shard: the unit of work, of retry and of resume. Imports no TensorFlow.

Any engine can map `build_shard` over the tasks: only paths go in and only numbers come out.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from data_prep import target
from data_prep.examples import labels, near_duplicates
from data_prep.examples.near_duplicates import Sample
from data_prep.sources.photographs import Rejection
from tfrecords import images, naming, originals, schema, writer
from tfrecords.manifest import Shard
from tfrecords.schema import Box, Object
from tfrecords.unusable import UnavailableImageError, UnusableImageError

_RECORD = 1  # Raised with every change of what an example holds beside its image.


class Stamp(msgspec.Struct, frozen=True):
    """What changes whenever a file does: its size in bytes and its time of change in ns."""

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
        path: Where the photograph is.
        file: Its path below the source's folder, for a person.
        content: Hex sha256 of its bytes.
        stamp: Size and time of change of its file when it was digested.
        filename: Its name as the example stores it.
        image_id: The source's id of the photograph.
        label: Index into the classes.
        size: (width, height) of the annotated image, in pixels.
        objects: Every instance of the classes in the photograph.
        crop: What to cut out, in shares of the photograph; None keeps all of it.
        drawn_as_shown: Whether boxes are measured on the photograph as shown, whatever its size.
        decoder: What decodes it, as `heif.extra_decoder` returns it: it decides what is usable.
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
        """Hex sha256 of all that decides the shard's bytes; places and ages of files do not."""
        examples = [
            msgspec.structs.replace(example, path="", file="", stamp=Stamp(0, 0))
            for example in self.examples
        ]
        inputs = (_RECORD, images.encoding(), self.image_size, examples)
        return hashlib.sha256(msgspec.json.encode(inputs)).hexdigest()


class ShardResult(msgspec.Struct, frozen=True):
    """What came of a task; kept on disk, so that a later build can trust the finished shard.

    Attributes:
        inputs_digest: The task's, to tell whether the shard is still the one that is wanted.
        shard: The manifest's entry.
        counts: {label: number of examples}.
        image_ids: In the order of the examples.
        rejections: The photographs that could not be used.
        fingerprints: {file: perceptual hash} of the photographs.
        unavailable: How many of the rejections may be gone when the build is tried again.
        version: What tells the object in a bucket from another one of its name.
    """

    inputs_digest: str
    shard: Shard
    counts: dict[int, int]
    image_ids: list[int]
    rejections: list[Rejection]
    fingerprints: dict[str, str]
    unavailable: int = 0
    version: str | msgspec.UnsetType = msgspec.UNSET  # Not written where there is none.


def build_shard(task: ShardTask) -> ShardResult:
    """Writes the shard, unless it is already there from the same inputs and undamaged."""
    done = finished(task)
    if done is not None and not done.unavailable:
        return done
    place = target.of(task.data_dir)
    with place.workplace(task.file) as path:
        written = _write(task, path)
        version = place.keep(path)
    fingerprints = near_duplicates.fingerprint_samples(list(written.samples.values()))
    result = ShardResult(
        inputs_digest=task.inputs_digest,
        shard=written.shard,
        counts=dict(Counter(example.label for example in written.examples)),
        image_ids=[example.image_id for example in written.examples],
        rejections=[Rejection(file, str(error)) for file, error in written.failures],
        fingerprints=dict(zip(written.samples, fingerprints, strict=True)),
        unavailable=sum(isinstance(error, UnavailableImageError) for _, error in written.failures),
        version=version or msgspec.UNSET,
    )
    # After the shard: it says that the shard is finished.
    place.write(_state_of(task), msgspec.json.encode(result))
    return result


class _Written(NamedTuple):
    """A shard that was written.

    Attributes:
        shard: The manifest's entry.
        examples: Those that the shard holds.
        failures: (file, error) of each example that it does not hold.
        samples: {file: what a fingerprint sees of it}.
    """

    shard: Shard
    examples: list[ExampleSpec]
    failures: list[tuple[str, UnusableImageError]]
    samples: dict[str, Sample]


def _write(task: ShardTask, path: Path) -> _Written:
    examples: list[ExampleSpec] = []
    failures: list[tuple[str, UnusableImageError]] = []
    samples: dict[str, Sample] = {}
    with writer.open_shard(path) as shard:
        for example in task.examples:
            is_new = example.file not in samples  # A photograph may have many crops.
            outcome = _make_record(example, task.image_size, wants_sample=is_new)
            if outcome.sample is not None:
                samples[example.file] = outcome.sample
            if isinstance(outcome.record, UnusableImageError):
                failures.append((example.file, outcome.record))
            else:
                shard.write(outcome.record)
                examples.append(example)
    return _Written(shard.shard, examples, failures, samples)


class _Outcome(NamedTuple):
    """What came of one example: its record, or why there is none.

    The sample is there if one was wanted and the photograph could be decoded, even where no record
    could be made of it.
    """

    record: bytes | UnusableImageError
    sample: Sample | None


def _make_record(example: ExampleSpec, image_size: int, *, wants_sample: bool) -> _Outcome:
    sample: Sample | None = None

    def look(pixels: images.Pixels) -> None:
        nonlocal sample
        sample = near_duplicates.sample(pixels)

    try:
        record = _serialize(example, image_size, look if wants_sample else None)
    except UnusableImageError as error:
        return _Outcome(error.with_traceback(None), sample)  # The traceback holds the pixels.
    return _Outcome(record, sample)


def _serialize(
    example: ExampleSpec, image_size: int, look: Callable[[images.Pixels], None] | None
) -> bytes:
    photograph = _read(example)
    objects, crop = locate_objects(example, photograph)
    return schema.serialize_example(
        images.store_jpeg(photograph, image_size, crop, look),
        filename=example.filename,
        image_id=example.image_id,
        label=example.label,
        objects=objects,
    )


def locate_objects(example: ExampleSpec, photograph: bytes) -> tuple[list[Object], Box | None]:
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
    """Returns the result of an earlier build, if it had the same inputs and the bytes are intact.

    Raises:
        OSError: if the shard is there and cannot be read.
    """
    place = target.of(task.data_dir)
    try:
        result = _last_result(task, place)
        if result.inputs_digest != task.inputs_digest:
            return None
        version = place.verify(result.shard, result.version or "")
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    except OSError as error:  # A bad disk: unlike opening, reading does not say which file it was.
        path = error.filename or place.place_of(task.file)
        raise OSError(error.errno, error.strerror, path) from error
    if version is None:
        return None
    if version != (result.version or ""):  # Compared byte for byte: next time its version will do.
        result = msgspec.structs.replace(result, version=version)
        place.write(_state_of(task), msgspec.json.encode(result))
    return result


def were_built_alike(tasks: Sequence[ShardTask]) -> bool:
    """Whether each shard's last build, finished or damaged since, was from the same inputs."""
    return not tasks or all(target.of(tasks[0].data_dir).map(_was_built_alike, tasks))


def _was_built_alike(task: ShardTask) -> bool:
    try:
        result = _last_result(task, target.of(task.data_dir))
    except (FileNotFoundError, msgspec.MsgspecError):
        return False
    return result.inputs_digest == task.inputs_digest


def _last_result(task: ShardTask, place: target.Target) -> ShardResult:
    return msgspec.json.decode(place.read(_state_of(task)), type=ShardResult)


def _state_of(task: ShardTask) -> str:
    return f"{naming.BUILD_STATE}/{task.file}.json"
