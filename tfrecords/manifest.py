"""The manifest: what a dataset holds, and the digests to check it. Its presence means complete."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from buckets import urls
from tfrecords import files, naming
from tfrecords.data_folder import DataFolder

VERSION = 1


class Shard(msgspec.Struct, frozen=True):
    """One shard file: its name, its number of examples, its size in bytes, its sha256."""

    file: str
    examples: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """A complete dataset.

    Attributes:
        version: Version of the manifest's format.
        classes: An example's label is an index into these names.
        counts: {split: {class: number of examples}}.
        shards: Every shard of every split.
        digest: sha256 over all shards; equal digests mean equal datasets.
        options: Every option of the build.
        dropped: {rule: number of photographs or instances that it left out}.
        rejected: Number of photographs that could not be used.
        near_duplicates: Number of pairs of photographs that look the same and stand in two splits.
    """

    version: int
    classes: list[str]
    counts: dict[str, dict[str, int]]
    shards: list[Shard]
    digest: str
    options: dict[str, Any]
    dropped: dict[str, int]
    rejected: int
    near_duplicates: int = 0

    def num_examples(self, split: str) -> int:
        """Number of examples of a split."""
        return sum(self.counts[split].values())

    def shards_of(self, split: str) -> list[Shard]:
        """The shards of a split, in order."""
        if split not in self.counts:
            raise ValueError(
                f"The dataset has no such split. Received: split={split!r}. "
                f"It has: {', '.join(self.counts)}."
            )
        of_split = (shard for shard in self.shards if naming.split_of(shard.file) == split)
        return sorted(of_split, key=lambda shard: shard.file)


def dataset_digest(shards: Iterable[Shard]) -> str:
    """sha256 over the shards' names and sha256s, in the order of the names."""
    lines = sorted(f"{shard.file} {shard.sha256}\n" for shard in shards)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_manifest(data_dir: str | os.PathLike[str], manifest: Manifest) -> None:
    """Completes the dataset: the last file to be written."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    files.write_atomically(Path(data_dir) / naming.MANIFEST, content + b"\n")


def read_manifest(data_dir: str | os.PathLike[str]) -> Manifest:
    """Reads the manifest of a complete dataset.

    Args:
        data_dir: A folder of this machine, or a bucket's URL.

    Raises:
        ValueError: if there is none, or if it cannot be read.
        BucketError: if the bucket cannot be reached, within seconds.
    """
    folder = DataFolder(data_dir)
    try:
        return msgspec.json.decode(folder.read(naming.MANIFEST), type=Manifest)
    except (FileNotFoundError, NotADirectoryError):
        urls.require_whole(os.fspath(data_dir))
        raise ValueError(
            f"No complete dataset: there is no {naming.MANIFEST}. Received: data_dir={data_dir}. "
            "Build one with `python -m data_prep.build --data_dir=...`."
        ) from None
    except msgspec.DecodeError as error:
        raise ValueError(
            f"The manifest cannot be read. Received: {folder.place_of(naming.MANIFEST)} ({error}). "
            "Build the dataset again."
        ) from error
