"""Which photographs become examples, and with which label: the label policies.

A crowd (`iscrowd`) stands in the way of a clear label but never decides one and is never cropped.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

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


def choose(
    photographs: Sequence[Photograph], *, policy: str, min_area: float, crop_margin: float
) -> tuple[list[Candidate], Counter[str]]:
    """Applies a label policy to each photograph.

    Args:
        photographs: With every instance of the classes.
        policy: `single` takes photographs with exactly one of the classes; `largest` lets the
            largest instance decide; `crop` cuts out every instance.
        min_area: Smallest share of the image that the deciding instance's box must cover.
        crop_margin: Added on each side of a crop, as a share of the box's width and height.

    Returns:
        The candidates, and how many photographs (instances, for `crop`) each rule left out: rules
        for instances have `crop` in their name.
    """
    candidates: list[Candidate] = []
    dropped: Counter[str] = Counter()
    for photograph in photographs:
        if photograph.has_several_labels:
            dropped["several_classes"] += 1
        elif photograph.label is not None:
            candidates.append(Candidate(photograph, photograph.label))
        elif policy == "crop":
            candidates += _crops(photograph, min_area, crop_margin, dropped)
        else:
            candidates += _whole(photograph, policy, min_area, dropped)
    return candidates, dropped


def _whole(
    photograph: Photograph, policy: str, min_area: float, dropped: Counter[str]
) -> list[Candidate]:
    deciding = [o for o in photograph.objects if not o.is_crowd]
    if not photograph.objects:
        dropped["no_instance_of_the_classes"] += 1
    elif policy == "single" and len({o.label for o in photograph.objects}) > 1:
        dropped["several_classes"] += 1
    elif not deciding:
        dropped["only_crowds"] += 1
    elif (largest := max(deciding, key=_size)).box.area < min_area:
        dropped["smaller_than_min_area"] += 1
    else:
        return [Candidate(photograph, largest.label)]
    return []


def _crops(
    photograph: Photograph, min_area: float, margin: float, dropped: Counter[str]
) -> list[Candidate]:
    crops = []
    if not photograph.objects:
        dropped["no_instance_of_the_classes"] += 1
    for instance in photograph.objects:
        if instance.is_crowd:
            dropped["crowd_not_cropped"] += 1
        elif instance.box.area < min_area:
            dropped["crop_smaller_than_min_area"] += 1
        else:
            crops.append(Candidate(photograph, instance.label, _widen(instance.box, margin)))
    return crops


def _size(instance: Object) -> tuple[float, float, tuple[float, ...]]:
    """By box, since many labels have no mask; a tie is not decided by the order in the file."""
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
    """The instances that reach into a crop, clipped to it, in shares of the crop."""
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
