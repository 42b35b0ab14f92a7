"""TFRecord framing: length, CRC of the length, record, CRC of the record; all little-endian.

The format of TensorFlow's `record_writer.h`, written without TensorFlow:
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import google_crc32c

HEADER_BYTES = 12  # Before a record.
_FOOTER = 4
FRAME_BYTES = HEADER_BYTES + _FOOTER  # What a record takes beside its own.


class Record(NamedTuple):
    """One record as a file holds it.

    Attributes:
        number: Counted from 0.
        offset: Position in the file of its frame's first byte.
        data: The record; empty if the file is damaged before the record's end.
        damage: What is wrong with it; "" if nothing is.
    """

    number: int
    offset: int
    data: bytes
    damage: str


def frame(record: bytes) -> bytes:
    """Returns the bytes that a file holds for a record."""
    return b"".join(frame_parts(record))


def frame_parts(record: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns the same in three parts, so that a large record need not be copied."""
    length = struct.pack("<Q", len(record))
    return length + _masked_crc(length), record, _masked_crc(record)


def read_frames(file: BinaryIO, size: int) -> Iterator[Record]:
    """Yields every record of a file, the damaged ones too.

    A record with a damaged length is the last one, as nothing tells where the next would start.

    Args:
        file: A file that nothing has been read from yet.
        size: The file's size in bytes.
    """
    number = offset = 0
    while offset < size:
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            yield Record(number, offset, b"", f"cut off in its length, at byte {size}")
            return
        if header[8:] != _masked_crc(header[:8]):
            where = f"bytes {offset} to {offset + HEADER_BYTES - 1}"
            yield Record(number, offset, b"", f"its length does not match its CRC, {where}")
            return
        [length] = struct.unpack("<Q", header[:8])
        end = offset + HEADER_BYTES + length + _FOOTER
        if end > size:
            yield Record(number, offset, b"", f"cut off at byte {size} of {end}")
            return
        data, crc = file.read(length), file.read(_FOOTER)
        where = f"bytes {offset + HEADER_BYTES} to {end - 1}"
        damage = "" if crc == _masked_crc(data) else f"its data do not match their CRC, {where}"
        yield Record(number, offset, data, damage)
        number, offset = number + 1, end


def _masked_crc(data: bytes) -> bytes:
    """CRC32C, rotated and offset: a CRC over data that holds CRCs would be weak otherwise."""
    crc = google_crc32c.value(data)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<I", masked)
