"""TFRecord framing: whichever byte is flipped, the record that holds it is named."""

import io
import struct

import pytest

from tfrecords import framing

RECORDS = [b"first", b"", b"the third"]
FRAMES = [framing.frame(record) for record in RECORDS]
CONTENT = b"".join(FRAMES)
OFFSETS = [0, len(FRAMES[0]), len(FRAMES[0]) + len(FRAMES[1])]


def read(content: bytes) -> list[framing.Record]:
    return list(framing.read_frames(io.BytesIO(content), len(content)))


def test_records_are_read_back_with_their_places() -> None:
    assert read(CONTENT) == [
        framing.Record(number, offset, record, "")
        for number, (offset, record) in enumerate(zip(OFFSETS, RECORDS, strict=True))
    ]
    assert read(b"") == []


@pytest.mark.parametrize("bit", [1, 128])
def test_every_flipped_byte_is_found_in_its_record(bit: int) -> None:
    for position in range(len(CONTENT)):
        flipped = bytearray(CONTENT)
        flipped[position] ^= bit
        [damaged] = [record for record in read(bytes(flipped)) if record.damage]
        number = sum(offset <= position for offset in OFFSETS) - 1
        assert (damaged.number, damaged.offset) == (number, OFFSETS[number])
        first, last = map(int, damaged.damage.partition("bytes ")[2].split(" to "))
        assert first <= position <= last


def test_damaged_data_do_not_hide_the_records_behind() -> None:
    flipped = bytearray(CONTENT)
    flipped[13] ^= 1
    assert [record.damage == "" for record in read(bytes(flipped))] == [False, True, True]


def test_every_cut_is_found_in_its_record() -> None:
    for size in range(1, len(CONTENT)):
        found = read(CONTENT[:size])
        if size in OFFSETS:  # Whole records: the manifest's count tells.
            assert not any(record.damage for record in found)
        else:
            assert found[-1].damage.startswith("cut off")
            assert found[-1].offset == max(offset for offset in OFFSETS if offset < size)


def test_length_beyond_the_file_is_not_allocated() -> None:
    header = struct.pack("<Q", 2**62)
    [record] = read(header + framing._masked_crc(header) + b"x")
    assert record.damage.startswith("cut off at byte 13 of")
