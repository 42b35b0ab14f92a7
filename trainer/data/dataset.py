"""A whole dataset, all its splits together, as it is read without TensorFlow."""

import dataclasses
import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from tfrecords import framing, schema
from tfrecords.manifest import Manifest
from tfrecords.shard_cache import ShardCache
from trainer.data.split import Index, Split, split_of


def whole_dataset(data_dir: str, manifest: Manifest, cache: ShardCache | None = None) -> Split:
    """Returns all splits of a dataset as one.

    Args:
        cache: As `find_split` takes it.
    """
    shards = [shard for name in sorted(manifest.counts) for shard in manifest.shards_of(name)]
    return split_of(data_dir, manifest, "all", shards, cache)


@dataclasses.dataclass(frozen=True, eq=False)  # Arrays do not compare to one truth value.
class Examples:
    """Every example of a dataset, without its image, in the order of its splits and their shards.

    Attributes:
        index: Sizes and labels.
        ids: The source's id of each one's photograph, int64 [num_examples].
        files: Its file name.
        photographs: Which photograph it is of, by the first that stands for it: crops of one and
            copies of its bytes have the same, int64 [num_examples].
    """

    index: Index
    ids: np.ndarray
    files: list[str]
    photographs: np.ndarray


def read_examples(whole: Split) -> Examples:
    """Reads every shard of a dataset, whose records are checked, without TensorFlow.

    Args:
        whole: As `whole_dataset` returns it.

    Raises:
        ValueError: if a shard is damaged, or does not hold as many examples as the manifest says.
    """
    sizes, labels, ids, files, names = [], [], [], [], []
    for path, count in zip(whole.files(), whole.counts, strict=True):
        for size, example in _read_shard(path, count):
            sizes.append(size)
            labels.append(example.label)
            ids.append(example.image_id)
            files.append(example.filename)
            content = hashlib.sha256(example.image).digest()
            names.append((content, (example.image_id, example.filename)))
    index = Index(np.array(sizes, np.int64), np.array(labels, np.int64))
    return Examples(index, np.array(ids, np.int64), files, photographs_of(names))


def read_jpegs(whole: Split, numbers: Collection[int]) -> dict[int, bytes]:
    """Returns the stored images of these examples of a dataset, by their numbers."""
    found = {}
    starts = whole.starts
    wanted = [
        shard
        for shard in range(len(whole.paths))
        if any(starts[shard] <= number < starts[shard + 1] for number in numbers)
    ]
    for shard, path in zip(wanted, whole.files(wanted), strict=True):
        examples = _read_shard(path, whole.counts[shard])
        for number, (_, example) in enumerate(examples, starts[shard]):
            if number in numbers:
                found[number] = example.image
    return found


def _read_shard(path: str, count: int) -> Iterator[tuple[int, schema.Example]]:
    """Yields each example with the bytes that its record takes."""
    file = Path(path)
    with file.open("rb") as stream:
        number = -1
        for number, record in enumerate(framing.read_frames(stream, file.stat().st_size)):
            if record.damage:
                raise ValueError(
                    f"A shard is damaged. Received: {path}, record {number}: {record.damage}. Copy "
                    "it again, or build the dataset again."
                )
            yield len(record.data) + framing.FRAME_BYTES, schema.parse_example(record.data)
    if number + 1 != count:
        raise ValueError(
            f"A shard does not hold what the manifest says. Received: {path} with {number + 1} "
            f"examples, not {count}. See what `python -m data_prep.verify` finds."
        )


def photographs_of(names: Sequence[Sequence[object]]) -> np.ndarray:
    """Returns for each example the first one that is of the same photograph, int64 [num_examples].

    Args:
        names: What an example may have in common with another of its photograph: the digest of its
            image, say, and its file. Those that share one are of the same, and so are those that
            share it with a third.
    """
    first = list(range(len(names)))

    def find(number: int) -> int:
        while first[number] != number:
            first[number] = number = first[first[number]]
        return number

    known: dict[object, int] = {}
    for number, of_one in enumerate(names):
        for name in of_one:
            a, b = find(number), find(known.setdefault(name, number))
            first[max(a, b)] = min(a, b)
    return np.array([find(number) for number in range(len(names))], np.int64)
