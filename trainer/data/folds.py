"""The folds of a dataset: all its splits together, dealt out by class and by photograph."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfrecords.manifest import Manifest
from tfrecords.order import order_key
from tfrecords.shard_cache import ShardCache
from trainer.data.dataset import Examples, read_examples, whole_dataset
from trainer.data.split import Split


def deal(
    labels: Sequence[int],
    photographs: Sequence[int],
    keys: Sequence[str],
    num_folds: int,
    seed: int = 0,
) -> np.ndarray:
    """Returns the fold of each example, int64 [num_examples], counted from 0.

    The examples of a photograph go to one fold. Each next photograph goes to that which has the
    fewest of its rarest class, as by the iterative stratification of Sechidis, Tsoumakas and
    Vlahavas (On the Stratification of Multi-Label Data, ECML 2011), in an order of hashes. All is
    counted in whole numbers, so that every machine deals the same; nor do the shards matter, in
    which the examples stand.

    Args:
        labels: Of each example.
        photographs: Equal numbers are of the same photograph.
        keys: What an example is known by: its photograph's first key decides its place.
        num_folds: 2 or more.
        seed: Another one gives other folds.
    """
    of_photograph: dict[int, list[int]] = defaultdict(list)
    for number, photograph in enumerate(photographs):
        of_photograph[photograph].append(number)
    total = Counter(labels)

    def place(numbers: list[int]) -> tuple[tuple[int, int], int, bytes]:
        hashed = order_key(f"fold {seed}", min(keys[number] for number in numbers))
        return _rarest(labels, numbers, total), -len(numbers), hashed  # Large ones first.

    folds = np.zeros(len(labels), np.int64)
    sizes, of_class = [0] * num_folds, [Counter[int]() for _ in range(num_folds)]
    for numbers in sorted(of_photograph.values(), key=place):
        _, label = _rarest(labels, numbers, total)
        _, _, fold = min((of_class[k][label], sizes[k], k) for k in range(num_folds))
        folds[numbers] = fold
        sizes[fold] += len(numbers)
        of_class[fold].update(labels[number] for number in numbers)
    return folds


def _rarest(
    labels: Sequence[int], numbers: Sequence[int], total: Mapping[int, int]
) -> tuple[int, int]:
    """Returns how many examples the rarest class among some examples has, and its label."""
    return min((total[labels[number]], labels[number]) for number in numbers)


def deal_examples(
    examples: Examples, classes: Sequence[str], num_folds: int, seed: int = 0
) -> np.ndarray:
    """Returns the fold of each example of a dataset, int64 [num_examples], counted from 0.

    Raises:
        ValueError: if a class has fewer photographs than there are folds.
    """
    labels = examples.index.labels.tolist()
    photographs = examples.photographs.tolist()
    check_counts(labels, photographs, classes, num_folds)
    keys = [f"{id}/{file}" for id, file in zip(examples.ids, examples.files, strict=True)]
    return deal(labels, photographs, keys, num_folds, seed)


def check_counts(
    labels: Sequence[int], photographs: Sequence[int], classes: Sequence[str], num_folds: int
) -> None:
    """Refuses folds of which one would be without a class.

    Raises:
        ValueError: if so, naming the classes.
    """
    pairs = set(zip(labels, photographs, strict=True))
    count = Counter(label for label, _ in pairs)
    rare = [name for label, name in enumerate(classes) if count[label] < num_folds]
    if not rare:
        return
    fewest = min(count[label] for label in range(len(classes)))
    fewer = f"take {fewest} folds, or " if fewest > 1 else ""
    raise ValueError(
        "Each class needs a photograph for each fold. Received: "
        f"{', '.join(f'{count[classes.index(name)]} of {name}' for name in rare)}, for {num_folds} "
        f"folds. {fewer.capitalize() or 'Take '}photographs of more, or a dataset without "
        f"{'it' if len(rare) == 1 else 'them'} (data_prep.build --classes)."
    )


class Held(NamedTuple):
    """A fold held out, and all others to train on.

    Attributes:
        train: The split of the others.
        val: The fold.
        counts: {class: number of examples to train on}, in the order of the labels.
    """

    train: Split
    val: Split
    counts: dict[str, int]


def hold_out(
    data_dir: str,
    manifest: Manifest,
    fold: int,
    num_folds: int,
    seed: int,
    cache: ShardCache | None = None,
) -> Held:
    """Returns the splits of one fold, counted from 1, whose examples are of all splits.

    Args:
        cache: As `find_split` takes it.

    Raises:
        ValueError: as `read_examples` and `deal_examples`.
    """
    whole = whole_dataset(data_dir, manifest, cache)
    examples = read_examples(whole)
    is_held = deal_examples(examples, manifest.classes, num_folds, seed) == fold - 1
    train, val = (
        dataclasses.replace(whole, name=name, index=examples.index, members=np.flatnonzero(chosen))
        for name, chosen in (("train", ~is_held), ("val", is_held))
    )
    found = np.bincount(examples.index.labels[~is_held], minlength=len(manifest.classes))
    return Held(train, val, dict(zip(manifest.classes, found.tolist(), strict=True)))
