"""One photograph under two labels: at most one of them can be right, and a model would learn both.

The same bytes stand twice, in two class folders or under two ids, and the labels differ.
"""

from collections import defaultdict
from collections.abc import Sequence

from data_prep.labels import Candidate
from data_prep.photographs import Rejection


def find(
    candidates: Sequence[Candidate], contents: Sequence[str], classes: Sequence[str]
) -> dict[int, Rejection]:
    """Returns {place among the candidates: what is wrong with it}, in order.

    Args:
        candidates: The examples to be. Two crops of one photograph may have two labels; the same
            crop may not.
        contents: For each, the hex digest of its photograph's bytes.
        classes: Names; a label is an index into them.
    """
    places_of = defaultdict(list)
    for place, (candidate, content) in enumerate(zip(candidates, contents, strict=True)):
        places_of[content, candidate.crop].append(place)
    found: dict[int, Rejection] = {}
    for places in places_of.values():
        if len({candidates[place].label for place in places}) > 1:
            found |= {place: _reject(place, places, candidates, classes) for place in places}
    return dict(sorted(found.items()))


def _reject(
    place: int, places: Sequence[int], candidates: Sequence[Candidate], classes: Sequence[str]
) -> Rejection:
    """Names the label of a candidate and the first other one, with the file that has it."""
    mine = candidates[place]
    other = next(candidates[p] for p in places if candidates[p].label != mine.label)
    reason = f"two labels: {classes[mine.label]} here, {classes[other.label]} in "
    where = f"{other.photograph.file} (id {other.photograph.image_id})"
    return Rejection(mine.photograph.file, reason + where)
