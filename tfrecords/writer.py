"""Writes one shard: its records framed, counted, digested, and renamed into place when complete."""

import hashlib
from collections.abc import Iterable

from etils import epath

from tfrecords import files, framing
from tfrecords.manifest import Shard


def write_shard(path: epath.PathLike, records: Iterable[bytes]) -> Shard:
    """Writes the records and returns what the manifest says of the shard."""
    digest = hashlib.sha256()
    examples = size = 0
    with files.atomic_writer(path) as file:
        for record in records:
            framed = framing.frame(record)
            file.write(framed)
            digest.update(framed)
            examples += 1
            size += len(framed)
    return Shard(
        file=epath.Path(path).name, examples=examples, bytes=size, sha256=digest.hexdigest()
    )
