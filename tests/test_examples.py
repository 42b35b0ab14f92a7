import itertools
from typing import Any

import pytest
import tensorflow as tf

from tfrecords import schema, writer
from trainer import input_pipeline
from trainer.config import TrainConfig
from trainer.examples import HeldExamples, ReadExamples, shuffle_window
from trainer.split import Split

NUM_EXAMPLES = 23
WINDOWS = [None, NUM_EXAMPLES, 5]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
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
    return [str(directory / f"{shard}") for shard in range(4)]


def labels(paths: list[str], count: int, window: int | None, **changes: Any) -> list[int]:
    """The first labels of a stream, looked up by several threads."""
    held = window is None or window >= NUM_EXAMPLES
    examples = HeldExamples(paths) if held else ReadExamples(paths)
    options = {"seed": 0, "start": 0, **changes}
    ds = input_pipeline.in_training_order(
        examples.read, num_shards=len(paths), num_examples=NUM_EXAMPLES, window=window, **options
    )
    ds = ds.map(lambda place, key: examples.take(key), num_parallel_calls=3)
    found = list(itertools.islice(ds.as_numpy_iterator(), count))
    assert all(jpeg == b"jpeg %d" % label for jpeg, label in found)
    return [int(label) for _, label in found]


@pytest.mark.parametrize("window", WINDOWS)
def test_epochs_are_different_permutations_that_the_seed_decides(paths, window) -> None:
    found = labels(paths, 4 * NUM_EXAMPLES, window)
    epochs = [found[i : i + NUM_EXAMPLES] for i in range(0, len(found), NUM_EXAMPLES)]
    assert all(sorted(epoch) == list(range(NUM_EXAMPLES)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4
    tf.random.set_seed(1)  # TensorFlow's global seed must not matter.
    assert labels(paths, len(found), window) == found
    assert labels(paths, len(found), window, seed=1) != found


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("start", [1, 22, 23, 70])  # Within an epoch, at its end, far beyond.
def test_order_goes_on_at_any_place(paths, window, start) -> None:
    whole = labels(paths, start + 9, window)
    assert labels(paths, 9, window, start=start) == whole[start:]


def test_order_is_the_same_whether_examples_are_held_or_read(paths) -> None:
    read = ReadExamples(paths)
    ds = input_pipeline.in_training_order(
        read.read, num_shards=len(paths), num_examples=NUM_EXAMPLES, seed=0, start=0
    )
    found = [int(read.take(key)[1]) for _, key in itertools.islice(ds, 2 * NUM_EXAMPLES)]
    assert found == labels(paths, 2 * NUM_EXAMPLES, None)


def test_window_is_what_the_memory_holds_on_any_machine(tmp_path) -> None:
    (tmp_path / "shard").write_bytes(bytes(40 << 20))
    split = Split("train", [str(tmp_path / "shard")], 1000, ["cat"])

    def window(ram_mib: int, **changes: Any) -> int:
        return shuffle_window(
            split, TrainConfig(data_dir="d", workdir="w", data_ram_mib=ram_mib, **changes)
        )

    assert window(100) == 1000  # Twice 40 MiB, and two batches of 4.6.
    assert window(81) == 165  # (81 - 9.2 - 32) / 6 of 40 MiB.
    assert window(9) == 1  # No less can be.
    assert window(81, num_gpus=0, cpu_replicas=4) == 165
