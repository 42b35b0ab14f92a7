import dataclasses
import itertools
from typing import Any

import pytest
import tensorflow as tf

from tfrecords import schema, writer
from trainer.config import TrainConfig
from trainer.data.examples import (
    ReadExamples,
    index_together,
    labels_of,
    open_examples,
    shuffle_window,
)
from trainer.data.order import Order
from trainer.data.split import Split
from trainer.distribute.workers import Workers

NUM_EXAMPLES = 23
WINDOWS = [None, NUM_EXAMPLES, 5]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Example i has label i, in three shards and an empty one."""
    directory = tmp_path_factory.mktemp("shards")
    for shard in range(4):
        members = range(NUM_EXAMPLES)[shard::3] if shard < 3 else []
        records = [
            schema.serialize_example(
                b"jpeg %d" % i, filename=f"{i}.jpg", image_id=i, label=i, objects=[]
            )
            for i in members
        ]
        writer.write_shard(directory / f"{shard}", records)
    paths = [str(directory / f"{shard}") for shard in range(4)]
    return Split("train", paths, [8, 8, 7, 0], [str(i) for i in range(NUM_EXAMPLES)])


@pytest.fixture(scope="module")
def indexed(split: Split) -> Split:
    return index_together(split, Workers(None, tf.distribute.get_strategy()))


def labels(
    split: Split, count: int, window: int | None, *, seed: int = 0, start: int = 0
) -> list[int]:
    """The first labels of a stream, looked up by several threads."""
    examples = open_examples(split, window)
    order = Order(seed, batch_size=1, window=window)
    ds = order.examples(split, examples.read, start_step=start)
    ds = ds.map(lambda place, key: examples.take(key), num_parallel_calls=3)
    found = list(itertools.islice(ds.as_numpy_iterator(), count))
    assert all(jpeg == b"jpeg %d" % label for jpeg, label in found)
    return [int(label) for _, label in found]


@pytest.mark.parametrize("window", WINDOWS)
def test_epochs_are_different_permutations_that_the_seed_decides(split, window) -> None:
    found = labels(split, 4 * NUM_EXAMPLES, window)
    epochs = [found[i : i + NUM_EXAMPLES] for i in range(0, len(found), NUM_EXAMPLES)]
    assert all(sorted(epoch) == list(range(NUM_EXAMPLES)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4
    tf.random.set_seed(1)  # TensorFlow's global seed must not matter.
    assert labels(split, len(found), window) == found
    assert labels(split, len(found), window, seed=1) != found


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("start", [1, 22, 23, 70])  # Within an epoch, at its end, far beyond.
def test_order_goes_on_at_any_place(split, window, start) -> None:
    whole = labels(split, start + 9, window)
    assert labels(split, 9, window, start=start) == whole[start:]


def test_order_is_the_same_whether_examples_are_held_or_read(split) -> None:
    read = ReadExamples(split)
    ds = Order(seed=0, batch_size=1).examples(split, read.read)
    found = [int(read.take(key)[1]) for _, key in itertools.islice(ds, 2 * NUM_EXAMPLES)]
    assert found == labels(split, 2 * NUM_EXAMPLES, None)


@pytest.mark.parametrize("window", WINDOWS)
def test_order_is_the_same_where_each_worker_reads_its_own(split, indexed, window) -> None:
    assert labels(indexed, 70, window) == labels(split, 70, window)
    assert labels_of(indexed).tolist() == labels_of(split).tolist()


def test_shard_with_other_examples_than_the_manifest_says_is_named(split) -> None:
    other = dataclasses.replace(split, counts=[8, 7, 8, 0])
    with pytest.raises(ValueError, match=r"Received: .*/1 with 8 examples, not 7"):
        index_together(other, Workers(None, tf.distribute.get_strategy()))


def test_window_is_what_the_memory_holds_on_any_machine(tmp_path) -> None:
    (tmp_path / "shard").write_bytes(bytes(40 << 20))
    split = Split("train", [str(tmp_path / "shard")], [1000], ["cat"])

    def window(ram_mib: int, **changes: Any) -> int:
        return shuffle_window(
            split, TrainConfig(data_dir="d", workdir="w", data_ram_mib=ram_mib, **changes)
        )

    assert window(100) == 1000  # Twice 40 MiB, and two batches of 4.6.
    assert window(81) == 165  # (81 - 9.2 - 32) / 6 of 40 MiB.
    assert window(9) == 1  # No less can be.
    assert window(81, num_gpus=0, cpu_replicas=4) == 165
