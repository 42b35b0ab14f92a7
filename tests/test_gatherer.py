"""Batches of features gathered from shards: every row its own, on memory that is used again."""

import gc

import numpy as np
import pytest
import tensorflow as tf

from tfrecords import framing
from trainer.features.gatherer import Gatherer, Pages

# So large that several threads share a batch of 8.
SIZE, VIEWS, COUNTS = 2**19, 2, (3, 1, 5)


def shards() -> list[np.ndarray]:
    """Framed records: each view of each example is one number over and over."""
    numbers = iter(range(sum(COUNTS) * VIEWS))
    return [
        np.frombuffer(
            b"".join(
                framing.frame(b"".join(bytes([next(numbers)]) * SIZE for _ in range(VIEWS)))
                for _ in range(count)
            ),
            np.uint8,
        ).reshape(count, -1)
        for count in COUNTS
    ]


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_are_those_of_the_examples_and_views_in_their_order(threads: int) -> None:
    gatherer = Gatherer(shards(), SIZE, Pages(), threads)
    indices, views = np.array([8, 0, 3, 2, 4, 4, 7, 1]), np.array([1, 0, 1, 1, 0, 1, 0, 0])
    rows = gatherer.gather(indices, views)
    np.testing.assert_array_equal(rows, np.tile((indices * VIEWS + views)[:, None], SIZE))


def test_memory_is_used_again_only_once_no_tensor_holds_it() -> None:
    pages = Pages()
    gather = Gatherer(shards(), SIZE, pages).gather
    zeros = np.zeros(2, np.int64)
    examples = tf.data.Dataset.range(8).batch(2)
    batches = examples.map(lambda i: tf.numpy_function(gather, [i, zeros], tf.uint8))
    held = list(batches)  # Each batch is kept, also as what TensorFlow makes of it without a copy.
    for number, batch in enumerate(tf.reshape(batch, [-1]) for batch in held):
        assert batch.numpy()[0] == 2 * number * VIEWS
        assert batch.numpy()[-1] == (2 * number + 1) * VIEWS
    del held, batch
    addresses = set()
    for _ in range(3):
        for batch in batches.prefetch(1):
            addresses.add(batch.numpy().ctypes.data)
    del batch
    gc.collect()
    assert len(addresses) <= 5  # Of twelve batches.
