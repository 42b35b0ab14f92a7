"""Writes one shard: its records framed, counted, digested, and renamed into place when complete."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tfrecords import files, framing
from tfrecords.manifest import Shard


class ShardWriter:
    """Takes the records of one shard and knows what the manifest says of them."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name, self._file = name, file
        self._digest = hashlib.sha256()
        self._examples = self._bytes = 0

    def write(self, record: bytes) -> None:
        """Appends a record."""
        framed = framing.frame(record)
        self._file.write(framed)
        self._digest.update(framed)
        self._examples += 1
        self._bytes += len(framed)

    @property
    def shard(self) -> Shard:
        """The manifest's entry for what was written so far."""
        return Shard(
            file=self._name,
            examples=self._examples,
            bytes=self._bytes,
            sha256=self._digest.hexdigest(),
        )


@contextmanager
def open_shard(path: str | os.PathLike[str]) -> Iterator[ShardWriter]:
    """Opens a shard for writing; it gets its name when the block ends without an error."""
    with files.atomic_writer(path) as file:
        yield ShardWriter(Path(path).name, file)


def write_shard(path: str | os.PathLike[str], records: Iterable[bytes]) -> Shard:
    """Writes the records and returns what the manifest says of the shard."""
    with open_shard(path) as writer:
        for record in records:
            writer.write(record)
    return writer.shard
