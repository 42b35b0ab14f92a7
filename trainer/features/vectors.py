"""What a head makes of feature maps before its first weight, computed from maps that are kept."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfrecords import framing
from trainer.data.split import Split
from trainer.features.source import FeatureSource
from trainer.features.store import shards_of

_ROWS = 32  # That go through at once.


def fill(vectors: FeatureSource, maps: FeatureSource, splits: Sequence[Split]) -> None:
    """Computes the shards of vectors that are missing or damaged.

    Args:
        vectors: Features of the same photographs and views, whose frozen layers take maps.
        maps: Features whose shards are all there.

    Raises:
        ValueError: if the disk has no room for them.
    """
    missing = [shard for shard in shards_of(splits) if not vectors.store.is_whole(shard)]
    if not missing:
        return
    vectors.store.create(missing)
    compute = tf.function(
        lambda rows: tf.cast(vectors.frozen(rows, training=False), vectors.store.dtype)
    )
    for split, path in missing:
        records = maps.store.open(split)[split.paths.index(path)]
        vectors.store.write(path, _records(maps, split, records, compute))


def _records(
    maps: FeatureSource,
    split: Split,
    records: np.ndarray,
    compute: "tf.types.experimental.PolymorphicFunction",
) -> Iterator[bytes]:
    """Yields for each record of maps that of its vectors, all views of an example in order."""
    store = maps.store
    views = len(store.views_in(split))
    examples = max(_ROWS // views, 1)
    for start in range(0, len(records), examples):
        some = records[start : start + examples, framing.HEADER_BYTES :]
        raw = some[:, : views * store.view_bytes].reshape(len(some) * views, -1)
        rows = np.ascontiguousarray(raw).reshape(len(raw), *store.shape, store.dtype.size)
        full = np.resize(rows, [examples * views, *rows.shape[1:]])  # Else it is traced anew.
        computed = compute(tf.bitcast(full, store.dtype)).numpy()
        for example in computed[: len(rows)].reshape(len(some), -1):
            yield example.tobytes()
