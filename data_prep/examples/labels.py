"""The label policies: which photographs become examples, and with which label.

A crowd (`iscrowd`) stands in the way of a clear label but never decides one and is never cropped.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from data_prep.rules import Rule
from data_prep.sources.photographs import Photograph
from tfrecords.schema import Box, Object

POLICIES = {  # In words.
    "single": "photographs that show exactly one of the classes",
    "largest": "the largest instance on a photograph decides",
    "crop": "every instance is cut out",
}


class Candidate(msgspec.Struct, frozen=True):
    """One example to be: a photograph, or a crop of it, with its label."""

    photograph: Photograph
    label: int
    crop: Box | None = None


class Choice(NamedTuple):
    """What a label policy makes of photographs.

    Attributes:
        candidates: In the order of the photographs.
        dropped: How many photographs (instances, for `crop`) each rule left out.
    """

    candidates: list[Candidate]
    dropped: Counter[Rule]


def choose(
    photographs: Sequence[Photograph], *, policy: str, min_area: float, crop_margin: float
) -> Choice:
    """Applies a label policy to each photograph.

    Args:
        photographs: With every instance of the classes.
        policy: `single` takes photographs with exactly one of the classes; `largest` lets the
            largest instance decide; `crop` cuts out every instance.
        min_area: Smallest share of the image that the deciding instance's box must cover.
        crop_margin: Added on each side of a crop, as a share of the box's width and height.
    """
    verdicts = [
        verdict
        for photograph in photographs
        for verdict in _verdicts(photograph, policy, min_area, crop_margin)
    ]
    candidates = [verdict for verdict in verdicts if isinstance(verdict, Candidate)]
    return Choice(candidates, Counter(verdict for verdict in verdicts if isinstance(verdict, Rule)))


def _verdicts(
    photograph: Photograph, policy: str, min_area: float, margin: float
) -> Iterator[Candidate | Rule]:
    """The examples that a photograph becomes, and the rules that speak against one."""
    if photograph.has_several_labels:
        yield Rule.SEVERAL_CLASSES
    elif photograph.label is not None:
        yield Candidate(photograph, photograph.label)
    elif not photograph.objects:
        yield Rule.NO_INSTANCE
    elif policy == "crop":
        for instance in photograph.objects:
            yield _crop(photograph, instance, min_area, margin)
    else:
        yield _whole(photograph, policy, min_area)


def _whole(photograph: Photograph, policy: str, min_area: float) -> Candidate | Rule:
    if policy == "single" and len({o.label for o in photograph.objects}) > 1:
        return Rule.SEVERAL_CLASSES
    deciding = [o for o in photograph.objects if not o.is_crowd]
    if not deciding:
        return Rule.ONLY_CROWDS
    largest = max(deciding, key=_size)
    if largest.box.area < min_area:
        return Rule.SMALL
    return Candidate(photograph, largest.label)


def _crop(
    photograph: Photograph, instance: Object, min_area: float, margin: float
) -> Candidate | Rule:
    if instance.is_crowd:
        return Rule.CROWD_NOT_CROPPED
    if instance.box.area < min_area:
        return Rule.SMALL_CROP
    return Candidate(photograph, instance.label, _widen(instance.box, margin))


def _size(instance: Object) -> tuple[float, float, tuple[float, ...]]:
    """Compares by box, as many labels have no mask; the order in the file decides no tie."""
    return instance.box.area, instance.area, msgspec.structs.astuple(instance.box)


def _widen(box: Box, margin: float) -> Box:
    dy, dx = margin * (box.ymax - box.ymin), margin * (box.xmax - box.xmin)
    return Box(
        ymin=max(0.0, box.ymin - dy),
        xmin=max(0.0, box.xmin - dx),
        ymax=min(1.0, box.ymax + dy),
        xmax=min(1.0, box.xmax + dx),
    )


def objects_in(objects: Sequence[Object], crop: Box) -> list[Object]:
    """Returns the instances that reach into a crop, clipped to it, in shares of the crop."""
    height, width = crop.ymax - crop.ymin, crop.xmax - crop.xmin
    inside = []
    for instance in objects:
        box = instance.box
        clipped = Box(
            ymin=max(0.0, (box.ymin - crop.ymin) / height),
            xmin=max(0.0, (box.xmin - crop.xmin) / width),
            ymax=min(1.0, (box.ymax - crop.ymin) / height),
            xmax=min(1.0, (box.xmax - crop.xmin) / width),
        )
        if clipped.area > 0:
            # The mask is not at hand: its share of the box is taken to be the same inside the crop.
            area = clipped.area * min(1.0, instance.area / box.area)
            inside.append(Object(clipped, instance.label, instance.is_crowd, area))
    return inside
