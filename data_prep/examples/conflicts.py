"""One photograph under two labels: at most one of them can be right, and a model would learn both.

The same bytes stand twice, in two class folders or under two ids, and the labels differ.
"""

from collections import defaultdict
from collections.abc import Sequence

from data_prep.examples.labels import Candidate
from data_prep.sources.photographs import Rejection
from tfrecords.schema import Box

_SAME = 0.9  # Boxes with so much in common are of one animal.


def find(
    candidates: Sequence[Candidate], contents: Sequence[str], classes: Sequence[str]
) -> dict[int, Rejection]:
    """Returns {place among the candidates: what is wrong with it}, in order.

    Args:
        candidates: The examples to be. Two crops of one photograph may have two labels, unless
            they show nearly the same.
        contents: For each, the hex digest of its photograph's bytes.
        classes: Names; a label is an index into them.
    """
    places_of = defaultdict(list)
    for place, content in enumerate(contents):
        places_of[content].append(place)
    found: dict[int, Rejection] = {}
    for places in places_of.values():
        if len({candidates[place].label for place in places}) == 1:
            continue
        for place in places:
            others = [
                candidates[p] for p in places if _contradict(candidates[p], candidates[place])
            ]
            if others:
                found[place] = _reject(candidates[place], others[0], classes)
    return dict(sorted(found.items()))


def _contradict(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates of one photograph show the same under two labels."""
    if one.label == other.label or one.crop is None or other.crop is None:
        return one.label != other.label
    return _overlap(one.crop, other.crop) >= _SAME


def _overlap(one: Box, other: Box) -> float:
    """What two boxes have in common, as a share of what they cover together."""
    common = Box(
        ymin=max(one.ymin, other.ymin), xmin=max(one.xmin, other.xmin),
        ymax=min(one.ymax, other.ymax), xmax=min(one.xmax, other.xmax),
    ).area  # fmt: skip
    return common / (one.area + other.area - common)


def _reject(mine: Candidate, other: Candidate, classes: Sequence[str]) -> Rejection:
    """Names the label of a candidate and another one, with the file that has it."""
    reason = f"two labels: {classes[mine.label]} here, {classes[other.label]} in "
    where = f"{other.photograph.file} (id {other.photograph.image_id})"
    return Rejection(mine.photograph.file, reason + where)
