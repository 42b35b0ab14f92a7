"""Which split each photograph goes to: stratified, and decided by what it shows."""

import math
from collections import defaultdict
from collections.abc import Sequence

from data_prep.labels import Candidate
from tfrecords.plan import order_key


def split_by_hash(
    candidates: Sequence[Candidate],
    contents: Sequence[str],
    *,
    val_fraction: float,
    test_fraction: float,
    salt: str,
) -> list[str]:
    """Returns the split of each candidate.

    Candidates with the same content, be it two copies of a file or two crops of a photograph, go
    to one split together. Within each class, contents are ranked by a salted hash; the first go to
    `val`, the next to `test`, the rest to `train`.

    Args:
        candidates: The examples to be.
        contents: For each, the hex digest of its photograph's bytes.
        val_fraction: Share of each class for `val`, at least one of two or more.
        test_fraction: The same for `test`.
        salt: Another salt gives another split.
    """
    label_of: dict[str, int] = {}  # A photograph with several labels counts for its lowest.
    for candidate, content in zip(candidates, contents, strict=True):
        label_of[content] = min(candidate.label, label_of.get(content, candidate.label))
    contents_of: dict[int, list[str]] = defaultdict(list)
    for content, label in label_of.items():
        contents_of[label].append(content)

    split_of: dict[str, str] = {}
    for members in contents_of.values():
        members.sort(key=lambda content: order_key(salt, content))
        num_val = _share(val_fraction, len(members))
        num_test = _share(test_fraction, len(members) - num_val, of=len(members))
        for rank, content in enumerate(members):
            in_val, in_test = rank < num_val, rank < num_val + num_test
            split_of[content] = "val" if in_val else "test" if in_test else "train"
    return [split_of[content] for content in contents]


def _share(fraction: float, available: int, of: int | None = None) -> int:
    """The fraction, rounded half up; one at least, unless `train` would be left with none."""
    if not fraction or available < 2:
        return 0
    wanted = math.floor(fraction * (of or available) + 0.5)
    return min(max(1, wanted), available - 1)
