"""A split of a dataset, as the trainer reads it."""

import dataclasses
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cli.progress import Progress
from tfrecords.data_folder import DataFolder
from tfrecords.manifest import Manifest, Shard
from tfrecords.remote_shards import RemoteShards
from tfrecords.shard_cache import ShardCache


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
        paths: The shards' files, or their URLs: open what `files` says.
        counts: Examples in each shard.
        classes: Names; a label is an index into them.
        index: What is known of each example, where several workers read their own alone.
        members: Which examples of its shards are its own, by number and in order, int64; None: all
            of them. Such a split has an index, since its shards hold others' examples too.
        remote: What fetches them; None: they are files of this machine.
    """

    name: str
    paths: list[str]
    counts: list[int]
    classes: list[str]
    index: Index | None = None
    members: np.ndarray | None = None
    remote: RemoteShards | None = None

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

    @property
    def nbytes(self) -> int:
        """What its shards take."""
        if self.remote:
            return self.remote.nbytes
        return sum(Path(path).stat().st_size for path in self.paths)

    def files(self, numbers: Sequence[int] | None = None) -> Iterator[str]:
        """Yields the file of each shard, to be read before the next one is asked for.

        Args:
            numbers: Of which shards, in which order; None: of all.

        Raises:
            BucketError: if one cannot be fetched, or is not what the manifest says.
        """
        numbers = range(len(self.paths)) if numbers is None else numbers
        if not self.remote:
            yield from (self.paths[number] for number in numbers)
            return
        total = self.remote.nbytes_of(numbers)
        with Progress(total, "B", title="Fetching shards", lines_to=sys.stderr) as progress:
            yield from map(str, self.remote.each(numbers, progress.add))


def find_split(
    data_dir: str, manifest: Manifest, name: str, cache: ShardCache | None = None
) -> Split:
    """Returns a split.

    Args:
        cache: Keeps copies of shards that lie in a bucket; None: the platform's cache folder does.

    Raises:
        ValueError: if the dataset has none of this name.
    """
    return split_of(data_dir, manifest, name, manifest.shards_of(name), cache)


def split_of(
    data_dir: str,
    manifest: Manifest,
    name: str,
    shards: Sequence[Shard],
    cache: ShardCache | None = None,
) -> Split:
    """Returns a split of these shards."""
    folder = DataFolder(data_dir)
    store = folder.store
    remote = RemoteShards(store, shards, cache or ShardCache()) if store else None
    paths = [folder.place_of(shard.file) for shard in shards]
    counts = [shard.examples for shard in shards]
    return Split(name, paths, counts, manifest.classes, remote=remote)
