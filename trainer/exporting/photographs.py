"""The photographs that an artefact is compared on: those that its run was validated on."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from tfrecords.manifest import Manifest, read_manifest
from tfrecords.shard_cache import ShardCache
from trainer import checks
from trainer.data.split import Split, find_split
from trainer.workdir.files import Workdir, read_json
from trainer.workdir.mirror import shown

_BATCH_SIZE = 4  # Squares of 576 pixels, through VGG16, take a GiB.


@dataclasses.dataclass(frozen=True)
class RunData:
    """The dataset of a run, where it is now.

    Attributes:
        data_dir: Where.
        manifest: What is in it.
        fold: The fold that was held out, counted from 1, of how many, and their seed; None: the
            run went by the dataset's own splits.
        cache: Keeps copies of what lies in a bucket.
    """

    data_dir: str
    manifest: Manifest
    fold: tuple[int, int, int] | None
    cache: ShardCache | None = None

    def splits(self) -> tuple[Split, Split]:
        """Returns what the run was trained on, and what it was validated on.

        Where it has no split for that, both are what it was trained on.
        """
        if self.fold:
            from trainer.data.folds import hold_out

            held = hold_out(self.data_dir, self.manifest, *self.fold, self.cache)
            return held.train, held.val
        train = find_split(self.data_dir, self.manifest, "train", self.cache)
        if "val" not in self.manifest.counts:
            return train, train
        return train, find_split(self.data_dir, self.manifest, "val", self.cache)


def find(files: Workdir, data_dir: str | None, cache: ShardCache | None = None) -> RunData:
    """Returns the dataset of a run.

    Args:
        files: The run's.
        data_dir: Where it is now; None: where it was when the run was last started.
        cache: As `find_split` takes it.

    Raises:
        ValueError: if it is not there, or if another one is.
    """
    digest = files.setting("data", "digest")
    place = data_dir or _last_data_dir(files)
    try:
        manifest = read_manifest(place)
    except ValueError as error:
        if data_dir:
            raise
        raise ValueError(
            f"An export is compared on the run's own photographs. {error} Or name the folder that "
            "they are in now with --data_dir."
        ) from error
    checks.check_classes(checks.check_trained(files), manifest)
    if manifest.digest != digest:
        raise ValueError(
            "The dataset is another one than the run was trained on. Received: "
            f"data_dir={place}, digest {manifest.digest[:8]}; expected: {digest[:8]}. Name the "
            "run's own with --data_dir."
        )
    for split in manifest.counts:
        checks.check_shards(place, manifest, split, cache or ShardCache())
    recipe = read_json(files.config)["recipe"]
    if not recipe.get("fold"):
        return RunData(place, manifest, None, cache)
    fold, _, count = recipe["fold"].partition("/")
    held = int(fold), int(count), recipe.get("fold_seed", 0)
    return RunData(place, manifest, held, cache)


def _last_data_dir(files: Workdir) -> str:
    """Where the dataset was when the run was last started."""
    content = read_json(files.config)
    starts = [content, *content.get("resumed", [])]
    found = [start["flags"]["data_dir"] for start in starts if "flags" in start]
    if not found:
        raise ValueError(
            "An export is compared on the run's own photographs, and config.json does not say "
            f"where they are. Received: workdir={shown(files.root)}. Name their "
            "folder with --data_dir."
        )
    return found[-1]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some photographs of a split.

    Attributes:
        names: Of their files.
        jpegs: As they are stored.
        labels: int64 [n].
    """

    names: list[str]
    jpegs: list[bytes]
    labels: np.ndarray


def batches(split: Split, batch_size: int = _BATCH_SIZE) -> Iterator[Batch]:
    """Yields the photographs of a split in the order of its shards; the last may be fewer."""
    from tfrecords import reader
    from trainer.data import records

    own = set(split.numbers.tolist())
    waiting: list[tuple[str, bytes, int]] = []
    with records.naming_failures(split):
        for number, serialized in enumerate(records.read_all(split)):
            if number not in own:
                continue
            example = reader.parse_example(serialized)
            name = example["image/filename"].numpy().decode()
            waiting.append((name, example["image"].numpy(), int(example["label"])))
            if len(waiting) == batch_size:
                yield _batch(waiting)
                waiting = []
    if waiting:
        yield _batch(waiting)


def _batch(rows: list[tuple[str, bytes, int]]) -> Batch:
    names, jpegs, labels = zip(*rows, strict=True)
    return Batch(list(names), list(jpegs), np.array(labels, np.int64))


def spread(split: Split, count: int) -> Iterator[bytes]:
    """Yields the JPEGs of so many photographs, spread over a split; of fewer, all."""
    wanted = np.linspace(0, split.num_examples - 1, min(count, split.num_examples)).astype(int)
    rows = set(wanted.tolist())
    for row, batch in enumerate(batches(split, 1)):
        if row in rows:
            yield batch.jpegs[0]
