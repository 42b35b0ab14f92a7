"""Finds photographs that look the same though their bytes differ, where they stand in two splits.

A copy that was saved again, resized, brightened or mirrored is no new photograph: a model that
trained on one has seen the other. Photographs are compared by perceptual hash (ImageHash's pHash,
https://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html).
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from tfrecords import files, images, naming

VERSION = 3  # Raised with every change that gives a photograph another fingerprint.

_SIDE = 16  # The fingerprint is the signs of the lowest 16x16 frequencies.
_NUM_BITS = _SIDE**2
# On 467 photographs of COCO, copies saved again, made smaller, squeezed, brightened or mirrored
# differ in 34 bits at most, and two photographs in no less than 88; two of 120 drawn animals in no
# less than 70.
MAX_DISTANCE = 40
_ENOUGH = 256  # A short side, in pixels, that shows all that the fingerprint can.
_SAMPLE = 64  # Pixels a side.
# The cosine transform's rows, as integers: 64-bit floats add and multiply them without rounding, so
# that the bits depend neither on the processor nor on the order of the sums.
_COSINES = np.rint(
    2**15 * np.cos(np.pi / _SAMPLE * np.outer(np.arange(_SIDE), np.arange(_SAMPLE) + 0.5))
)
_CHUNK = 2048

Sample = npt.NDArray[np.uint8]
"""Grey, [64, 64]."""


class Pair(msgspec.Struct, frozen=True):
    """Two photographs that look the same; a line of `near_duplicates.jsonl`.

    Attributes:
        files: The two photographs, relative to the source's folder.
        splits: The split of each.
        distance: How many of the 256 bits differ.
        is_mirrored: Whether one is the other's mirror image.
    """

    files: tuple[str, str]
    splits: tuple[str, str]
    distance: int
    is_mirrored: bool


def fingerprint(pixels: images.Pixels) -> str:
    """Returns the perceptual hash of an image of any size, as 64 hex digits."""
    return fingerprint_samples([sample(pixels)])[0]


def sample(pixels: images.Pixels) -> Sample:
    """Returns what a fingerprint sees of an image of any size."""
    enough = images.shrink(pixels, _ENOUGH)
    small = cv2.resize(enough, (_SAMPLE, _SAMPLE), interpolation=cv2.INTER_LINEAR_EXACT)
    to_grey = cv2.COLOR_RGBA2GRAY if small.shape[2] == 4 else cv2.COLOR_RGB2GRAY
    return np.asarray(cv2.cvtColor(small, to_grey), np.uint8)


def fingerprint_samples(samples: Sequence[Sample]) -> list[str]:
    """Returns the fingerprint of each: many at once take half the time of one by one.

    Bit for bit ImageHash's `phash`, to which the tests hold it.
    """
    grey = np.reshape(samples, (-1, _SAMPLE, _SAMPLE)).astype(np.float64)
    frequencies = (_COSINES @ grey @ _COSINES.T).reshape(-1, _NUM_BITS)
    ordered = np.sort(frequencies, axis=1)
    middle = ordered[:, _NUM_BITS // 2 - 1 : _NUM_BITS // 2 + 1]
    signs = frequencies > middle.mean(axis=1, keepdims=True)
    return [row.tobytes().hex() for row in np.packbits(signs, axis=1)]


def find(fingerprints: Mapping[str, str], split_of: Mapping[str, str]) -> list[Pair]:
    """Returns the pairs across two splits, in a fixed order.

    Args:
        fingerprints: {file: fingerprint}.
        split_of: {file: split}.
    """
    members: dict[str, list[str]] = {}
    for file in sorted(fingerprints):
        members.setdefault(split_of[file], []).append(file)
    signs = {
        split: _signs([fingerprints[file] for file in of_split])
        for split, of_split in members.items()
    }
    pairs = [
        pair
        for one, other in itertools.combinations(sorted(members), 2)
        for pair in _between(
            (one, other), (members[one], members[other]), (signs[one], signs[other])
        )
    ]
    return sorted(pairs, key=msgspec.structs.astuple)


def _signs(fingerprints: list[str]) -> npt.NDArray[np.float32]:
    """Returns -1 or 1 for each bit, [fingerprints, 256]: their product counts equal bits."""
    packed = np.frombuffer(bytes.fromhex("".join(fingerprints)), np.uint8)
    bits = np.unpackbits(packed).reshape(-1, _NUM_BITS)
    return bits.astype(np.float32) * 2 - 1


def _between(
    splits: tuple[str, str],
    members: tuple[list[str], list[str]],
    signs: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
) -> list[Pair]:
    # A mirror image has the same frequencies, the odd ones across with the other sign.
    mirror = np.resize(np.array([1, -1], np.float32), _NUM_BITS)
    found: dict[tuple[int, int], tuple[int, bool]] = {}
    for start in range(0, len(signs[0]), _CHUNK):
        chunk = signs[0][start : start + _CHUNK]
        for is_mirrored, seen in ((True, chunk * mirror), (False, chunk)):
            distances = (_NUM_BITS - seen @ signs[1].T) / 2
            for row, column in np.argwhere(distances <= MAX_DISTANCE).tolist():
                found[start + row, column] = int(distances[row, column]), is_mirrored
    return [
        Pair((members[0][i], members[1][j]), splits, distance, is_mirrored)
        for (i, j), (distance, is_mirrored) in found.items()
    ]


def seen_in_training(pairs: list[Pair]) -> set[str]:
    """Returns the files of `train` that look like one of another split."""
    return {
        file
        for pair in pairs
        for file, split in zip(pair.files, pair.splits, strict=True)
        if split == "train"
    }


def write(data_dir: Path, pairs: list[Pair]) -> None:
    """Writes `near_duplicates.jsonl`: a line for each pair."""
    lines = [msgspec.json.encode(pair) + b"\n" for pair in pairs]
    files.write_atomically(data_dir / naming.NEAR_DUPLICATES, b"".join(lines))
