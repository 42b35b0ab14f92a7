"""The store of features: its files, what they hold, how large they are and whether they are whole.

A shard of features stands for a shard of photographs: a record for each example, in the same order,
with all its views one after the other.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from cli import machine
from tfrecords import files, framing
from tfrecords.manifest import Manifest
from trainer.config import TrainConfig
from trainer.data.split import Split
from trainer.data.view import Shown, View
from trainer.workdir.files import Workdir

_ENCODING = 1  # Raised with every change that makes other features of the same image and weights.

Shard = tuple[Split, str]
"""A split, and the path of one of its shards of photographs."""


class FeatureStore:
    """The shards of features of a dataset's images.

    Attributes:
        folder: Where the shards are. A digest of all that decides their bytes is its name, so they
            are never stale, and runs may share the folder that it is in.
        shape: A feature's.
        dtype: A feature's, as it is stored.
        num_views: Views of each training image, as `View.num_views`; 1 where it has no end of them.

    Args:
        frozen: The layers that the features come out of.
        manifest: Describes the dataset.
    """

    def __init__(self, config: TrainConfig, frozen: keras.Model, manifest: Manifest) -> None:
        self.shape = tuple(frozen.output.shape[1:])
        self.dtype = tf.as_dtype(config.cache_dtype or frozen.output.dtype)
        view = View.from_config(config)
        self._view = view
        self.num_views = view.num_views or 1
        self._is_shared = config.cache_dir is not None
        self._examples = {shard.file: shard.examples for shard in manifest.shards}
        self._description = self._describe(frozen, manifest.digest)
        if config.feature_norm == "power_l2" and not config.cache_maps:  # Its roots are no layers.
            self._description["feature_norm"] = config.feature_norm
        if config.fold:  # Every shard has all views then, as each fold is trained on and tested.
            self._description["splits"] = "all"
        digest = hashlib.sha256(json.dumps(self._description, sort_keys=True).encode()).hexdigest()
        self.folder = Path(config.cache_dir or Workdir(config.workdir).features) / digest[:16]

    def _describe(self, frozen: keras.Model, dataset: str) -> dict[str, Any]:
        """All that decides the bytes of the shards."""
        weights = hashlib.sha256()
        for array in frozen.get_weights():
            weights.update(array.tobytes())
        return {
            "encoding": _ENCODING,
            "dataset": dataset,
            **self._view.description(),
            "layers": [(layer.name, layer.dtype_policy.name) for layer in frozen.layers],
            "weights": weights.hexdigest(),
            "shape": self.shape,
            "dtype": self.dtype.name,
            "tensorflow": tf.__version__,
        }

    def nbytes(self, splits: Sequence[Split]) -> int:
        """What the shards of the splits take on disk."""
        return sum(map(self._shard_bytes, shards_of(splits)))

    def nbytes_missing(self, splits: Sequence[Split]) -> int:
        """What is still to be written of them."""
        missing = (shard for shard in shards_of(splits) if not self.path(shard[1]).exists())
        return sum(map(self._shard_bytes, missing))

    def is_whole(self, shard: Shard) -> bool:
        """Whether a shard is there, of the right size, and every record matches its CRC."""
        path = self.path(shard[1])
        if not path.exists() or path.stat().st_size != self._shard_bytes(shard):
            return False
        with path.open("rb") as file:
            damaged = any(r.damage for r in framing.read_frames(file, path.stat().st_size))
        if damaged:
            logging.warning("A shard of features is damaged, and is computed again: %s.", path)
        return not damaged

    def create(self, missing: Sequence[Shard]) -> None:
        """Makes the folder, and describes in it what the shards are of.

        Raises:
            ValueError: if the disk has no room for the shards that are missing.
        """
        machine.require_disk(self.folder, sum(map(self._shard_bytes, missing)))
        self.folder.mkdir(parents=True, exist_ok=True)
        description = json.dumps(self._description, indent=2) + "\n"
        files.write_atomically(self.folder / "features.json", description)
        if not self._is_shared:  # Else another run may be writing the same one.
            for _, path in missing:
                files.remove_incomplete(self.folder, self.path(path).name)

    def write(self, path: str, records: Iterable[bytes]) -> None:
        """Writes the shard of features that stands for a shard of photographs."""
        write_records(self.path(path), records)

    def open(self, split: Split) -> list[np.ndarray]:
        """Returns the framed records of each shard, uint8 [num_examples, frame_bytes], mapped."""
        return [
            np.memmap(self.path(path), np.uint8, "r").reshape(-1, self._frame_bytes(split))
            for path in split.paths
        ]

    def path(self, path: str) -> Path:
        """The shard of features that stands for a shard of photographs."""
        return self.folder / Path(path).name

    def num_examples(self, path: str) -> int:
        """How many examples a shard holds."""
        return self._examples[Path(path).name]

    def views_in(self, split: Split) -> tuple[Shown, ...]:
        """The views of each example of a split that are kept, in the order of its record.

        Where folds share the store, an example that one trains on is tested by another.
        """
        trained, tested = self._view.kept_views or self._view.tested_views, self._view.tested_views
        if split.members is not None:
            return (*trained, *(shown for shown in tested if shown not in trained))
        return trained if split.name == "train" else tested

    @property
    def view_bytes(self) -> int:
        """The size of one feature."""
        return math.prod(self.shape) * self.dtype.size

    def _frame_bytes(self, split: Split) -> int:
        """The size of a record, every view of one example, with its frame."""
        return len(framing.frame(bytes(len(self.views_in(split)) * self.view_bytes)))

    def _shard_bytes(self, shard: Shard) -> int:
        split, path = shard
        return self.num_examples(path) * self._frame_bytes(split)


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Writes a shard without a digest, which would take longer than all the rest; CRCs are enough.

    Nothing asks for it: the features' bytes are no part of a run's identity.
    """
    with files.atomic_writer(path) as file:
        for record in records:
            file.writelines(framing.frame_parts(record))


def shards_of(splits: Sequence[Split]) -> list[Shard]:
    """Returns every shard of the splits, once, as the first one's that holds it."""
    owners = {path: split for split in reversed(splits) for path in split.paths}
    return [(owners[path], path) for path in dict.fromkeys(p for s in splits for p in s.paths)]
