import dataclasses
import io
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrecords import framing, reader, schema, writer
from trainer.data.examples import index_together, labels_of
from trainer.data.order import Order
from trainer.data.source import PhotographSource
from trainer.data.split import Split
from trainer.data.view import View
from trainer.distribute.workers import Workers

NUM_EXAMPLES = 11  # A multiple of nothing that follows.


def jpeg(rgb: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb.astype(np.uint8)).save(out, "JPEG", quality=100, subsampling=0)
    return out.getvalue()


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Split:
    """Eleven grey squares in three shards; example i is of class i and of brightness 20 i."""
    directory = tmp_path_factory.mktemp("shards")
    paths = []
    for shard in range(3):
        members = range(NUM_EXAMPLES)[shard::3]
        records = [
            schema.serialize_example(
                jpeg(np.full((8, 8, 3), 20 * i)), filename=f"{i}.jpg", image_id=i, label=i,
                objects=[],
            )
            for i in members
        ]  # fmt: skip
        writer.write_shard(directory / f"shard-{shard}", records)
        paths.append(str(directory / f"shard-{shard}"))
    return Split("train", paths, [4, 4, 3], [str(i) for i in range(NUM_EXAMPLES)])


def batches(
    split: Split, count: int, *, batch_size: int = 4, seed: int = 0, **changes: Any
) -> list[list[int]]:
    """The labels of the first batches of a stream."""
    stream = PhotographSource().training_batches(split, Order(seed, batch_size), **changes)
    return [labels.numpy().argmax(axis=1).tolist() for _, labels in itertools.islice(stream, count)]


def test_stream_is_one_permutation_after_the_other_in_full_batches(split) -> None:
    found = batches(split, 11)  # 44 examples: four permutations.
    assert {len(batch) for batch in found} == {4}
    flat = [label for batch in found for label in batch]
    permutations = [flat[i : i + NUM_EXAMPLES] for i in range(0, 44, NUM_EXAMPLES)]
    assert all(sorted(p) == list(range(NUM_EXAMPLES)) for p in permutations)
    assert len({tuple(p) for p in permutations}) == 4


@pytest.mark.parametrize("step", [1, 2, 3, 7])  # Within an epoch, across its end, far beyond.
def test_stream_goes_on_at_any_step(split, step) -> None:
    assert batches(split, 3, start_step=step) == batches(split, step + 3)[step:]


@pytest.mark.parametrize("step", [0, 1, 2, 5])
def test_skipped_batches_are_missing_and_nothing_else(split, step) -> None:
    """A batch keeps its number and its examples, whichever others are skipped."""
    whole = Order(seed=0, batch_size=4)
    order = dataclasses.replace(whole, skipped=(4, 1))
    taken = [batch for batch in range(20) if batch not in order.skipped]
    assert [order.batch_of_step(s) for s in range(18)] == taken
    names = [
        [example["name"] for example in whole.examples_in_batch(split, batch)]
        for batch in taken[step : step + 3]
    ]
    assert order.examples_in_batch(split, 4) == whole.examples_in_batch(split, 4)
    stream = PhotographSource().training_batches(split, order, step)
    found = [labels.numpy().argmax(axis=1) for _, labels in itertools.islice(stream, 3)]
    assert [[f"{label}.jpg" for label in batch] for batch in found] == names


def mirrored(split: Split, *, count: int, batch_size: int, **changes: Any) -> list[bool]:
    """Whether each of the first examples shows its bright left side on the right."""
    source = PhotographSource(View(augment="flip"))
    stream = source.training_batches(split, Order(0, batch_size), **changes)
    images = [image for batch, _ in itertools.islice(stream, count) for image in batch.numpy()]
    return [bool(image[:, -50:].mean() > image[:, :50].mean()) for image in images]


@pytest.fixture
def half_bright(tmp_path: Path) -> Split:
    """Four photographs that are white on the left and black on the right."""
    rgb = np.zeros((256, 256, 3))
    rgb[:, :128] = 255
    records = [
        schema.serialize_example(
            jpeg(rgb), filename=f"{i}.jpg", image_id=i, label=i, objects=[]
        )
        for i in range(4)
    ]  # fmt: skip
    writer.write_shard(tmp_path / "shard", records)
    return Split("train", [str(tmp_path / "shard")], [4], ["0", "1", "2", "3"])


def test_flip_belongs_to_an_examples_place_in_the_stream(half_bright) -> None:
    found = mirrored(half_bright, batch_size=4, count=16)
    assert 16 < sum(found) < 48  # About half of 64.
    assert found[:4] != found[4:8] or found[4:8] != found[8:12]  # Others in each epoch.
    assert mirrored(half_bright, batch_size=8, count=8) == found  # However it is batched,
    assert mirrored(half_bright, batch_size=4, count=4, start_step=12) == found[48:]  # or resumed.
    second = tf.distribute.InputContext(2, 1, 2)
    shares = mirrored(half_bright, batch_size=8, count=8, worker=second)
    assert shares == [x for i, x in enumerate(found) if i % 8 >= 4]  # Or shared among workers.


def rows_of(
    split: Split, *, count: int, batch_size: int, window: int | None, **changes: Any
) -> list[tuple[bytes, bytes]]:
    """The pixels and labels of the first batches, row by row, under every augmentation."""
    source = PhotographSource(View(augment="full"), mixup=0.4, cutmix=1.0)
    stream = source.training_batches(split, Order(0, batch_size, window), **changes)
    return [
        (image.tobytes(), label.tobytes())
        for images, labels in itertools.islice(stream, count)
        for image, label in zip(images.numpy(), labels.numpy(), strict=True)
    ]


@pytest.mark.parametrize("window", [None, 4])  # Held in memory, and read in windows.
def test_augmentation_knows_no_batch_replica_worker_or_resume(split, window) -> None:
    found = rows_of(split, count=4, batch_size=8, window=window)
    assert len(set(found)) == 32
    assert rows_of(split, count=16, batch_size=2, window=window) == found
    assert rows_of(split, count=2, batch_size=8, start_step=2, window=window) == found[16:]
    second = tf.distribute.InputContext(2, 1, 4)  # Of two workers, with two replicas each.
    shares = rows_of(split, count=8, batch_size=8, worker=second, window=window)
    assert shares == [row for i, row in enumerate(found) if i % 8 >= 4]


def test_order_depends_on_the_seed_alone(split) -> None:
    found = batches(split, 6)
    tf.random.set_seed(1)  # TensorFlow's global seed must not matter.
    assert batches(split, 6) == found
    assert batches(split, 6, seed=1) != found
    chain = itertools.chain.from_iterable  # The size of the batches does not change the order.
    assert list(chain(batches(split, 6, batch_size=2))) == list(chain(found[:3]))


def test_images_stay_uint8_and_belong_to_their_labels(split) -> None:
    stream = PhotographSource().training_batches(split, Order(seed=0, batch_size=4))
    images, labels = next(iter(stream))
    assert images.dtype == tf.uint8
    assert images.shape == (4, 224, 224, 3)
    brightness = images.numpy().mean(axis=(1, 2, 3))
    np.testing.assert_allclose(brightness, 20 * labels.numpy().argmax(axis=1), atol=2)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 16])
def test_evaluation_fills_the_last_batch_and_loses_nothing(split, batch_size) -> None:
    found = list(PhotographSource().evaluation_batches(split, batch_size))
    assert {len(batch) for batch in found} == {batch_size}
    images = np.concatenate(found)
    labels = labels_of(split)
    assert Counter(labels.tolist()) == Counter(range(NUM_EXAMPLES))
    np.testing.assert_allclose(images[:NUM_EXAMPLES].mean(axis=(1, 2, 3)), 20 * labels, atol=2)
    assert (images[NUM_EXAMPLES:] == images[0]).all()


def only_whole(split: Split, wanted: set[int], folder: Path) -> Split:
    """A copy of a split in which every example but the wanted ones, by label, is damaged."""
    paths = []
    for path in map(Path, split.paths):
        content = bytearray(path.read_bytes())
        for record in framing.read_frames(io.BytesIO(content), len(content)):
            if int(reader.parse_example(record.data)["label"]) not in wanted:
                content[record.offset + framing.HEADER_BYTES + 50] ^= 1
        (folder / path.name).write_bytes(content)
        paths.append(str(folder / path.name))
    return dataclasses.replace(split, paths=paths)


def test_worker_reads_only_its_rows(split, tmp_path) -> None:
    indexed = index_together(split, Workers(None, tf.distribute.get_strategy()))
    second = tf.distribute.InputContext(2, 1, 2)
    own = [row for batch in batches(split, 2) for row in batch[2:]]
    copy = only_whole(indexed, set(own), tmp_path)
    assert list(itertools.chain(*batches(copy, 2, worker=second))) == own
    with pytest.raises(tf.errors.DataLossError):
        batches(copy, 2)

    def brightness(split: Split, **options: Any) -> list[float]:
        ds = PhotographSource().evaluation_batches(split, 4, **options)
        return [float(image.mean()) for batch in ds.as_numpy_iterator() for image in batch]

    labels = labels_of(split)
    own = [2, 3, 6, 7, 10, 0]  # The first example fills the last batch up.
    copy = only_whole(indexed, {int(labels[row]) for row in own}, tmp_path)
    assert brightness(copy, worker=second) == pytest.approx(20 * labels[own], abs=2)
    with pytest.raises(tf.errors.DataLossError):
        brightness(copy)


def test_members_alone_are_read_in_one_permutation_after_the_other(split: Split) -> None:
    members = np.array([1, 2, 5, 6, 10])  # Of the shards' own numbers, from which labels follow.
    index = index_together(split, Workers(None, tf.distribute.get_strategy())).index
    own = dataclasses.replace(split, index=index, members=members)
    labels = labels_of(split)[members].tolist()
    assert (own.num_examples, labels_of(own).tolist()) == (5, labels)
    flat = [label for batch in batches(own, 5) for label in batch]
    assert all(sorted(flat[i : i + 5]) == sorted(labels) for i in range(0, 20, 5))
    assert batches(own, 2, start_step=3) == batches(own, 5)[3:]
    images = [*PhotographSource(View(96)).evaluation_batches(own, 4).as_numpy_iterator()]
    brightness = np.concatenate(images)[:5].mean(axis=(1, 2, 3))
    assert brightness == pytest.approx([20 * label for label in labels], abs=2)
    named = Order(0, 4).examples_in_batch(own, 1)
    assert [example["id"] for example in named] == batches(own, 2)[1]
