"""A split of a dataset, as the trainer reads it."""

import dataclasses
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrecords.manifest import Manifest


class Index(NamedTuple):
    """What is known of each example of some shards beforehand, in their order.

    Attributes:
        sizes: Bytes that its record takes in its shard, int64 [num_stored].
        labels: int64 [num_stored].
    """

    sizes: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Split:
    """A split of a dataset.

    Attributes:
        paths: The shards' files.
        counts: Examples in each shard.
        classes: Names; a label is an index into them.
        index: What is known of each example, where several workers read their own alone.
        members: Which examples of its shards are its own, by number and in order, int64; None: all
            of them. Such a split has an index, since its shards hold others' examples too.
    """

    name: str
    paths: list[str]
    counts: list[int]
    classes: list[str]
    index: Index | None = None
    members: np.ndarray | None = None

    @property
    def num_examples(self) -> int:
        """Its examples."""
        return self.num_stored if self.members is None else len(self.members)

    @property
    def num_stored(self) -> int:
        """Examples in all its shards, those that are not its own among them."""
        return sum(self.counts)

    @property
    def numbers(self) -> np.ndarray:
        """The numbers of its examples among all of its shards, int64 [num_examples]."""
        return np.arange(self.num_stored) if self.members is None else self.members

    @property
    def starts(self) -> list[int]:
        """The first example of each shard; at the end, how many there are."""
        return [*itertools.accumulate(self.counts, initial=0)]


def find_split(data_dir: str, manifest: Manifest, name: str) -> Split:
    """Returns a split.

    Raises:
        ValueError: if the dataset has none of this name.
    """
    shards = manifest.shards_of(name)
    paths = [str(Path(data_dir) / shard.file) for shard in shards]
    return Split(name, paths, [shard.examples for shard in shards], manifest.classes)
