"""Training runs of the miniature in which some batches give NaN.

`python tests/support/poisoned.py BATCH,... FLAGS`: the labels of these batches of the stream are
NaN, so that a step on one is, whatever the weights are.
"""

import itertools
import math
import sys
from collections.abc import Iterator
from typing import Any

from tests.support import miniature


def _poison(batches: frozenset[int]) -> None:
    import tensorflow as tf

    from trainer.data.source import PhotographSource

    whole = PhotographSource.training_batches

    def training_batches(self: Any, split: Any, order: Any, start_step: int, worker: Any) -> Any:
        ds = whole(self, split, order, start_step, worker)

        def poisons() -> Iterator[float]:
            for step in itertools.count(start_step):  # The stream has a replica's rows at a time.
                factor = math.nan if order.batch_of_step(step) in batches else 1.0
                yield from itertools.repeat(factor, worker.num_replicas_in_sync)

        factors = tf.data.Dataset.from_generator(
            poisons, output_signature=tf.TensorSpec([], tf.float32)
        )
        ds = tf.data.Dataset.zip(ds, factors)
        return ds.map(lambda batch, factor: (batch[0], batch[1] * factor))

    PhotographSource.training_batches = training_batches


if __name__ == "__main__":
    poisoned = frozenset(map(int, sys.argv.pop(1).split(",")))
    miniature.run(lambda: _poison(poisoned))
