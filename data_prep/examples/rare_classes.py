"""Classes with too few photographs: nothing can be learned about one with none to train on."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

import msgspec

from data_prep.examples.labels import Candidate
from data_prep.sources.photographs import Photograph, Source

Counts = dict[str, Counter[str]]
"""{class: {split: number of photographs}}, every class, with what it has."""


def count(
    candidates: Sequence[Candidate],
    contents: Sequence[str],
    splits_of: Sequence[str],
    classes: Sequence[str],
) -> Counts:
    """Counts photographs by content: copies and crops of one teach nothing new.

    Args:
        candidates: The examples to be.
        contents: For each candidate, the hex digest of its photograph's bytes.
        splits_of: For each candidate, its split.
        classes: A label is an index into these names.
    """
    seen = defaultdict(set)
    for candidate, content, split in zip(candidates, contents, splits_of, strict=True):
        seen[candidate.label].add((split, content))
    return {name: Counter(split for split, _ in seen[label]) for label, name in enumerate(classes)}


def find(counts: Counts, fewest: int) -> list[str]:
    """Returns the classes with fewer photographs than `fewest`, or with none in `train`."""
    return [
        name
        for name, of_split in counts.items()
        if of_split.total() < fewest or not of_split["train"]
    ]


def in_words(counts: Counts, names: Collection[str]) -> str:
    """`dog 1 (train 1); none of cat, cow`: how many there are, and in which split."""
    some = [f"{name} {counts[name].total()} ({_by_split(counts[name])})"
            for name in names if counts[name]]  # fmt: skip
    none = ", ".join(name for name in names if not counts[name])
    return "; ".join([*some, f"none of {none}"] if none else some)


def _by_split(of_class: Counter[str]) -> str:
    return ", ".join(f"{split} {number}" for split, number in sorted(of_class.items()))


def leave_out(source: Source, names: Collection[str]) -> Source:
    """Returns the source as if it did not know these classes."""
    classes = tuple(name for name in source.classes if name not in names)
    labels = {
        source.classes.index(name): label for label, name in enumerate(classes)
    }  # From the old to the new.
    relabelled = (_relabel(photograph, labels) for photograph in source.photographs)
    return source._replace(classes=classes, photographs=[p for p in relabelled if p is not None])


def _relabel(photograph: Photograph, labels: dict[int, int]) -> Photograph | None:
    """Returns None if the whole photograph is of a class that is left out."""
    if photograph.label is not None and photograph.label not in labels:
        return None
    return msgspec.structs.replace(
        photograph,
        label=None if photograph.label is None else labels[photograph.label],
        objects=tuple(
            msgspec.structs.replace(instance, label=labels[instance.label])
            for instance in photograph.objects
            if instance.label in labels
        ),
    )
