"""Decodes an annotation file of COCO's format: strictly as COCO writes it, else as tools do.

The strict decoder is typed and fast: segmentations, most of a file's bytes, are skipped without
being built, and annotations of other classes are not kept. Only a file that it refuses is decoded
again, for what tools write otherwise: null or nothing, whole floats, numbers and ids as text, NaN,
an annotation without a box.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from data_prep.config import ALL_CLASSES
from data_prep.sources.photographs import hashed_id

Pixels = tuple[float, float, float, float]
"""A box as COCO has it: [x, y, width, height] in pixels of the annotated image."""

_WHOLE = re.compile(r"([+-]?\d{1,19})(\.0*)?", re.ASCII)
_TRUTHS = {"true": True, "false": False}
_LONGEST_SHOWN = 60


# gc=False: a file has a million of them, and none can be part of a cycle.
class Category(msgspec.Struct, gc=False):
    """A category; its id is the file's own."""

    id: int
    name: str


class License(msgspec.Struct, gc=False):
    """A licence; its id is the file's own."""

    id: int
    name: str = ""
    url: str = ""


class Image(msgspec.Struct, gc=False):
    """An image. A width or height below 1 is not known; so is one that the file leaves out."""

    id: int
    file_name: str
    width: int
    height: int
    license: int | None = None
    flickr_url: str = ""
    coco_url: str = ""


class Annotation(msgspec.Struct, gc=False):
    """One instance with its box; the id only serves to name it."""

    id: int | str
    image_id: int
    category_id: int
    bbox: Pixels
    area: float | None = None
    iscrowd: int = 0


class Label(NamedTuple):
    """An annotation of a file in which none has a box: a label of the whole photograph."""

    image_id: int
    category_id: int


class Unusable(NamedTuple):
    """An annotation that cannot be used, and why. The other ids are None if one is unreadable."""

    annotation_id: int | str
    reason: str
    image_id: int | None = None
    category_id: int | None = None


class BadImage(NamedTuple):
    """An image that cannot be used, what to call it, and why; the id is None if unreadable."""

    name: str
    reason: str
    image_id: int | None = None


class Detections(NamedTuple):
    """What an annotation file holds.

    Attributes:
        images: The usable ones.
        categories: Every one, whether asked for or not.
        annotations: Those with a box, of the classes asked for.
        licenses: Every one that has an id.
        labels: The annotations of a file in which none has a box.
        unusable: Annotations that cannot be used.
        source_ids: {image id: the id in the file}, for ids that are text and no number.
        contributor: The person or tool that made the file; "" where it does not say.
        bad_images: Images that cannot be used.
    """

    images: list[Image]
    categories: list[Category]
    annotations: list[Annotation]
    licenses: list[License]
    labels: list[Label]
    unusable: list[Unusable]
    source_ids: dict[int, str]
    contributor: str
    bad_images: Sequence[BadImage] = ()


class _File(msgspec.Struct, kw_only=True):
    images: list[Image]
    categories: list[Category]
    licenses: list[License] = []
    info: msgspec.Raw = msgspec.Raw(b"null")


class _Undecoded(_File, kw_only=True):
    annotations: list[msgspec.Raw]


class _LenientCategory(msgspec.Struct, gc=False):
    id: Any
    name: str | int | None = None


class _LenientImage(msgspec.Struct, gc=False):
    id: Any = None
    file_name: Any = None
    width: Any = None
    height: Any = None
    license: Any = None
    flickr_url: Any = None
    coco_url: Any = None


class _LenientAnnotation(msgspec.Struct, gc=False):
    image_id: Any
    category_id: Any
    id: Any = None
    bbox: Any = None
    area: Any = None
    iscrowd: Any = None


class _LenientFile(msgspec.Struct, kw_only=True):
    categories: list[_LenientCategory] | None = None
    licenses: Any = None
    info: Any = None


class _LenientUndecoded(_LenientFile, kw_only=True):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]


class _LenientParsed(_LenientFile, kw_only=True):
    images: list[Any]
    annotations: list[Any]


def decode(content: bytes, classes: tuple[str, ...]) -> Detections:
    """Decodes an annotation file without the annotations of its other classes.

    Args:
        content: JSON in UTF-8, without a byte order mark.
        classes: The names that are asked for, or `ALL_CLASSES`.

    Raises:
        msgspec.ValidationError: if it is JSON but not COCO detections, with the place.
        msgspec.DecodeError: if it is not JSON.
        UnicodeDecodeError: if it is not UTF-8.
    """
    try:
        return _decode_strictly(content, classes)
    except (msgspec.DecodeError, _AmbiguousIdsError):
        return _decode_leniently(content, classes)


class _AmbiguousIdsError(Exception):
    """Two annotations have one id, so that it names neither."""


def _decode_strictly(content: bytes, classes: tuple[str, ...]) -> Detections:
    """Decodes the annotations one by one: in COCO itself, most are of other classes."""
    decode_one = msgspec.json.Decoder(Annotation).decode
    file = msgspec.json.decode(content, type=_Undecoded)
    others = _others(file.categories, classes)
    annotations = [a for a in map(decode_one, file.annotations) if a.category_id not in others]
    if len({annotation.id for annotation in annotations}) < len(annotations):
        raise _AmbiguousIdsError
    contributor = _contributor(msgspec.json.decode(file.info))
    return Detections(
        file.images, file.categories, annotations, file.licenses, [], [], {}, contributor
    )


def _others(categories: Iterable[Category], classes: tuple[str, ...]) -> set[int]:
    """Returns the ids of the categories that were not asked for."""
    if classes == ALL_CLASSES:
        return set()
    return {category.id for category in categories if category.name not in classes}


def _contributor(info: Any) -> str:
    return _text(info.get("contributor")) if isinstance(info, dict) else ""


def _decode_leniently(content: bytes, classes: tuple[str, ...]) -> Detections:
    file, image_entries, entries = _parse(content)
    images = _read_images(image_entries)
    categories, nameless = _read_categories(file.categories or ())
    found = _read_all(entries, _others(categories, classes))
    for index, category_id in nameless.items():
        if any(read.category_id == category_id for read in found):
            raise msgspec.ValidationError(
                f"Expected a name, got `null` - at `$.categories[{index}].name`"
            )
    if file.categories is None:  # Last: captions, say, lack more than that.
        raise msgspec.ValidationError("Object missing required field `categories`")
    return Detections(
        images=images.usable,
        categories=categories,
        annotations=[read for read in found if isinstance(read, Annotation)],
        licenses=[license for entry in _list(file.licenses) for license in _license(entry)],
        labels=[read for read in found if isinstance(read, Label)],
        unusable=[read for read in found if isinstance(read, Unusable)],
        source_ids=images.source_ids,
        contributor=_contributor(file.info),
        bad_images=images.bad,
    )


class _Images(NamedTuple):
    """The images of a file; the attributes are those of `Detections`."""

    usable: list[Image]
    bad: list[BadImage]
    source_ids: dict[int, str]


def _read_images(entries: Iterable[_LenientImage | str]) -> _Images:
    """Reads images, including those that cannot be used.

    Raises:
        msgspec.ValidationError: if there are images but not one can be used.
    """
    images = _Images([], [], {})
    for index, entry in enumerate(entries):
        read = _image(entry, index)
        if isinstance(read, BadImage):
            images.bad.append(read)
            continue
        images.usable.append(read)
        if not isinstance(entry, str) and isinstance(entry.id, str) and entry.id != str(read.id):
            images.source_ids[read.id] = entry.id
    if images.bad and not images.usable:
        raise msgspec.ValidationError(f"{images.bad[0].reason} - at `$.images[0]`")
    return images


def _read_categories(
    entries: Iterable[_LenientCategory],
) -> tuple[list[Category], dict[int, int]]:
    """Returns the categories, and {position: id} of those without a name."""
    categories: list[Category] = []
    nameless: dict[int, int] = {}
    for index, entry in enumerate(entries):
        category_id = _required(entry.id, f"$.categories[{index}].id")
        if entry.name is None:
            nameless[index] = category_id
        else:
            categories.append(Category(category_id, str(entry.name)))
    return categories, nameless


def _parse(
    content: bytes,
) -> tuple[_LenientFile, Iterator[_LenientImage | str], Iterator[_LenientAnnotation | str]]:
    """Returns the file, its images and its annotations.

    An image or annotation that is none comes as a sentence that says what is wrong with it.
    """
    try:
        file = msgspec.json.decode(content, type=_LenientUndecoded)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        parsed = msgspec.convert(_parse_with_nan(content, error), _LenientParsed)
        return (
            parsed,
            _each(lambda image: msgspec.convert(image, _LenientImage), parsed.images),
            _each(lambda a: msgspec.convert(a, _LenientAnnotation), parsed.annotations),
        )
    return (
        file,
        _each(msgspec.json.Decoder(_LenientImage).decode, file.images),
        _each(msgspec.json.Decoder(_LenientAnnotation).decode, file.annotations),
    )


def _parse_with_nan(content: bytes, error: msgspec.DecodeError) -> Any:
    """Python's own parser, much slower, takes the NaN and Infinity that Python itself writes."""
    if b"NaN" not in content and b"Infinity" not in content:
        raise error
    try:
        return json.loads(content.decode(), object_hook=_without_mask)
    except json.JSONDecodeError:
        raise error from None


def _without_mask(entry: dict[str, Any]) -> dict[str, Any]:
    entry.pop("segmentation", None)  # Nearly all of a file's numbers, each an object here.
    return entry


_Entry = TypeVar("_Entry", _LenientImage, _LenientAnnotation)


def _each(read: Callable[[Any], _Entry], entries: Iterable[Any]) -> Iterator[_Entry | str]:
    for entry in entries:
        try:
            yield read(entry)
        except msgspec.ValidationError as error:
            yield str(error)


def _read_all(
    entries: Iterable[_LenientAnnotation | str], others: set[int]
) -> list[Annotation | Label | Unusable]:
    """Reads the annotations of the classes asked for, including those that cannot be used.

    Raises:
        msgspec.ValidationError: if there are annotations but not one says what is on which image.
    """
    ids: list[int | str | None] = []
    have_boxes = False
    kept: list[tuple[int, _LenientAnnotation | str]] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, str):
            ids.append(None)
            kept.append((index, entry))
            continue
        ids.append(_name(entry.id))
        have_boxes = have_boxes or bool(entry.bbox)
        if _identity(entry.category_id) not in others:
            kept.append((index, entry))
    names = _distinct(ids)
    found = [_read(names[index], entry, have_boxes) for index, entry in kept]
    reasons = [read.reason for read in found if read.category_id is None]
    if reasons and len(reasons) == len(ids):
        raise msgspec.ValidationError(f"{reasons[0]} - at `$.annotations[0]`")
    return found


def _distinct(ids: Sequence[int | str | None]) -> Sequence[int | str]:
    """Returns the ids, or positions from 1 where the ids do not tell the annotations apart."""
    names = [name for name in ids if name is not None]
    return names if len(set(names)) == len(ids) else range(1, len(ids) + 1)


def _name(value: Any) -> int | str | None:
    return value if isinstance(value, str) and value else _whole(value)


def _read(
    name: int | str, entry: _LenientAnnotation | str, have_boxes: bool
) -> Annotation | Label | Unusable:
    if isinstance(entry, str):  # What is wrong with it.
        return Unusable(name, entry)
    image_id, category_id = _identity(entry.image_id), _identity(entry.category_id)
    if image_id is None:
        return Unusable(name, f"image_id is no id: {_shown(entry.image_id)}")
    if category_id is None:
        return Unusable(name, f"category_id is no id: {_shown(entry.category_id)}", image_id)
    if not have_boxes:
        return Label(image_id, category_id)
    bbox, is_crowd = _box(entry.bbox), _truth(entry.iscrowd)
    if bbox is None:
        reason = f"box is not four numbers: {_shown(entry.bbox)}"
        return Unusable(name, reason, image_id, category_id)
    if is_crowd is None:
        reason = f"iscrowd is neither 0 nor 1: {_shown(entry.iscrowd)}"
        return Unusable(name, reason, image_id, category_id)
    return Annotation(name, image_id, category_id, bbox, _number(entry.area), is_crowd)


def _box(value: Any) -> Pixels | None:
    match [_number(corner) for corner in _list(value)]:
        case [float(x), float(y), float(width), float(height)]:
            return x, y, width, height
    return None


def _image(entry: _LenientImage | str, index: int) -> Image | BadImage:
    place = f"images[{index}]"
    if isinstance(entry, str):  # What is wrong with it.
        return BadImage(place, entry)
    image_id, name = _identity(entry.id), entry.file_name
    if not isinstance(name, str) or not name:
        return BadImage(place, f"file_name is no name: {_shown(name)}", image_id)
    if image_id is None:
        return BadImage(name, f"the image's id is no id: {_shown(entry.id)}")
    width, height = _side(entry.width), _side(entry.height)
    if width is None or height is None:
        sides = f"{_shown(entry.width)} x {_shown(entry.height)}"
        return BadImage(name, f"width and height are no whole numbers: {sides}", image_id)
    return Image(
        id=image_id,
        file_name=name,
        width=width,
        height=height,
        license=_identity(entry.license),
        flickr_url=_text(entry.flickr_url),
        coco_url=_text(entry.coco_url),
    )


def _license(entry: Any) -> Iterator[License]:
    """Yields the licence, unless it has no id: no image can refer to it then."""
    license_id = _identity(entry.get("id")) if isinstance(entry, dict) else None
    if license_id is not None:
        yield License(license_id, _text(entry.get("name")), _text(entry.get("url")))


def _identity(value: Any) -> int | None:
    """Returns an id as a number, however it is written; text that is no number is hashed."""
    number = _whole(value)
    return hashed_id(value) if number is None and isinstance(value, str) and value else number


def _required(value: Any, place: str) -> int:
    identity = _identity(value)
    if identity is None:
        raise msgspec.ValidationError(
            f"Expected a whole number or text, got `{_shown(value)}` - at `{place}`"
        )
    return identity


def _side(value: Any) -> int | None:
    """Returns a width or height in pixels; 0 if the file gives none, None if it is no number."""
    return 0 if _is_missing(value) else _whole(value)


def _whole(value: Any) -> int | None:
    """A whole number, also as `1.0` or as text of 63 bits; None for anything else."""
    if isinstance(value, str):
        match = _WHOLE.fullmatch(value)
        return number if match and abs(number := int(match[1])) < 2**63 else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    """A finite number, also as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _truth(value: Any) -> int | None:
    """Returns 1 or 0, however it is written; 0 if nothing is, None if it is neither."""
    if _is_missing(value):
        return 0
    if isinstance(value, str):
        value = _TRUTHS.get(value.lower(), value)
    number = float(value) if isinstance(value, bool) else _number(value)
    return None if number is None else int(number != 0)


def _is_missing(value: Any) -> bool:
    """Whether the file gives no value; pandas writes NaN for that."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _shown(value: Any) -> str:
    """Returns the value as JSON, cut to a readable length."""
    return json.dumps(value)[:_LONGEST_SHOWN]
