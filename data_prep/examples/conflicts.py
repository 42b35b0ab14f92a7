"""One photograph under two labels: at most one of them can be right, and a model would learn both.

The same bytes stand twice, in two class folders or under two ids, and the labels differ.
"""

from collections import defaultdict
from collections.abc import Sequence

from data_prep.examples.labels import Candidate
from data_prep.sources.photographs import Rejection
from tfrecords.schema import Box

_SAME = 0.9  # Intersection over union, from which on two boxes are of one animal.


def find(
    candidates: Sequence[Candidate], contents: Sequence[str], classes: Sequence[str]
) -> dict[int, Rejection]:
    """Returns {index into the candidates: what is wrong with it}, in order.

    Args:
        candidates: Two crops of one photograph may differ in their labels, unless they show nearly
            the same.
        contents: For each candidate, the hex digest of its photograph's bytes.
        classes: A label is an index into these names.
    """
    members_of = defaultdict(list)
    for index, content in enumerate(contents):
        members_of[content].append(index)
    found: dict[int, Rejection] = {}
    for members in members_of.values():
        if len({candidates[index].label for index in members}) == 1:
            continue
        for index in members:
            others = [
                candidates[i] for i in members if _contradict(candidates[i], candidates[index])
            ]
            if others:
                found[index] = _reject(candidates[index], others[0], classes)
    return dict(sorted(found.items()))


def _contradict(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates of one photograph show the same under two labels."""
    if one.label == other.label or one.crop is None or other.crop is None:
        return one.label != other.label
    return _overlap(one.crop, other.crop) >= _SAME


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    common = Box(
        ymin=max(one.ymin, other.ymin), xmin=max(one.xmin, other.xmin),
        ymax=min(one.ymax, other.ymax), xmax=min(one.xmax, other.xmax),
    ).area  # fmt: skip
    return common / (one.area + other.area - common)


def _reject(mine: Candidate, other: Candidate, classes: Sequence[str]) -> Rejection:
    """Names the label of a candidate, the one that contradicts it, and the file that has that."""
    reason = f"two labels: {classes[mine.label]} here, {classes[other.label]} in "
    where = f"{other.photograph.file} (id {other.photograph.image_id})"
    return Rejection(mine.photograph.file, reason + where)
