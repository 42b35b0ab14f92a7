"""Writes one shard: TFRecord framing, counted, digested, and renamed into place when complete.

The framing is that of TensorFlow's `record_writer.h`, written without TensorFlow:
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import hashlib
import struct
from collections.abc import Iterable

import google_crc32c
from etils import epath

from tfrecords import files
from tfrecords.manifest import Shard


def write_shard(path: epath.PathLike, records: Iterable[bytes]) -> Shard:
    """Writes the records and returns what the manifest says of the shard."""
    digest = hashlib.sha256()
    examples = size = 0
    with files.atomic_writer(path) as file:
        for record in records:
            framed = _frame(record)
            file.write(framed)
            digest.update(framed)
            examples += 1
            size += len(framed)
    return Shard(
        file=epath.Path(path).name, examples=examples, bytes=size, sha256=digest.hexdigest()
    )


def _frame(record: bytes) -> bytes:
    """Length, CRC of the length, record, CRC of the record; all little-endian."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _masked_crc(length), record, _masked_crc(record)))


def _masked_crc(data: bytes) -> bytes:
    """CRC32C, rotated and offset: a CRC over data that holds CRCs would be weak otherwise."""
    crc = google_crc32c.value(data)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<I", masked)
