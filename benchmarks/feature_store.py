"""Features without a GPU: how fast batches are gathered, shards written and filled, now and before.

python -m benchmarks.feature_store --folder=D

The old way gathers each batch in one thread into a new array, digests every shard that it writes,
and computes nothing meanwhile. The shards hold random bytes, in the size of VGG16's features of
14 x 14 x 512 numbers. What fills them is no GPU but sleeps for as long as one takes for a batch.
"""

import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import flags

from cli import command, paths
from tfrecords import framing
from tfrecords.writer import write_shard
from trainer import workarounds
from trainer.data.source import worker_options
from trainer.features.gatherer import Gatherer, Pages
from trainer.features.handover import hand_over
from trainer.features.store import write_records

FLAGS = flags.FLAGS

paths.define("folder", None, "Where the shards are written for a while; unset: a temporary one.")
flags.DEFINE_integer("examples", 1024, "That there are features of.", lower_bound=16)
flags.DEFINE_integer("batch_size", 256, "Features in a batch.", lower_bound=1)
flags.DEFINE_integer("batches", 40, "How many are timed in a turn.", lower_bound=1)
flags.DEFINE_float("device_rate", 4663, "Images/s of the frozen layers: an H200's.", lower_bound=1)
flags.DEFINE_integer("turns", 3, "The median counts.", lower_bound=1)

_SHAPE = (14, 14, 512)
_VIEW_BYTES = 14 * 14 * 512 * 4
_SHARDS = 8
_WARM = 8  # Batches.

Gather = Callable[[np.ndarray, np.ndarray], np.ndarray]


def main(arguments: list[str]) -> None:
    """Prints features a second of each way, and how many times the old way's that is."""
    command.refuse_arguments(arguments)
    workarounds.keep_memory()
    if FLAGS.folder:
        Path(FLAGS.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FLAGS.folder) as folder:
        shards = [Path(folder) / str(number) for number in range(_SHARDS)]
        _compare("filled", {"the old way": _rate_of_old_filling, "now": _rate_of_filling}, shards)
        _compare("written", {"the old way": _rate_of_old_writing, "now": _rate_of_writing}, shards)
        _compare("gathered", {"the old way": _rate_of_old, "now": _rate_of_new}, shards)


def _compare(what: str, ways: dict[str, Callable[[list[Path]], float]], shards: list[Path]) -> None:
    """Measures in turns, so that a machine that is slow for a while is so for all."""
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(FLAGS.turns):
        for way, measure in ways.items():
            rates[way].append(measure(shards))
    medians = {way: statistics.median(of_way) for way, of_way in rates.items()}
    first, *_ = medians.values()
    for way, rate in medians.items():
        gigabytes = rate * _VIEW_BYTES / 1e9
        print(
            f"{what}, {way}: {rate:,.0f} features/s, {gigabytes:.2f} GB/s, {rate / first:.2f}",
            flush=True,
        )


def _records() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [rng.bytes(_VIEW_BYTES) for _ in range(FLAGS.examples // _SHARDS)]


def _rate_of_old_writing(shards: list[Path]) -> float:
    return _rate_of_writing(shards, write_shard)


def _rate_of_writing(shards: list[Path], write: Callable[..., object] = write_records) -> float:
    records = _records()
    start = time.perf_counter()
    for shard in shards:
        write(shard, records)
    return _SHARDS * len(records) / (time.perf_counter() - start)


def _computed() -> Iterator[np.ndarray]:
    """Yields what the device makes of each batch, when it has."""
    batch = np.random.default_rng(0).random([FLAGS.batch_size, *_SHAPE], np.float32)
    for _ in range(FLAGS.examples // FLAGS.batch_size):
        time.sleep(FLAGS.batch_size / FLAGS.device_rate)
        yield batch


def _rate_of_old_filling(shards: list[Path]) -> float:
    start = time.perf_counter()
    count = _fill(shards, write_shard, _computed())
    return count / (time.perf_counter() - start)


def _rate_of_filling(shards: list[Path]) -> float:
    start = time.perf_counter()
    hand_over(_computed(), functools.partial(_fill, shards, write_records))
    return FLAGS.examples // FLAGS.batch_size * FLAGS.batch_size / (time.perf_counter() - start)


def _fill(shards: list[Path], write: Callable[..., object], batches: Iterator[np.ndarray]) -> int:
    """Writes a shard of each batch, and returns how many features came."""
    count = 0
    for shard, batch in zip(itertools.cycle(shards), batches, strict=False):
        write(shard, (feature.tobytes() for feature in batch))
        count += len(batch)
    return count


def _open(shards: list[Path]) -> list[np.ndarray]:
    frame_bytes = _VIEW_BYTES + framing.FRAME_BYTES
    return [np.memmap(shard, np.uint8, "r").reshape(-1, frame_bytes) for shard in shards]


def _rate_of_old(shards: list[Path]) -> float:
    records = _open(shards)

    def gather(indices: np.ndarray, views: np.ndarray) -> np.ndarray:
        rows = np.empty([len(indices), _VIEW_BYTES], np.uint8)
        for out, index in zip(rows, indices, strict=True):
            record = records[index // len(records[0])][index % len(records[0])]
            out[:] = record[framing.HEADER_BYTES : framing.HEADER_BYTES + _VIEW_BYTES]
        return rows

    return _rate_of_batches(gather)


def _rate_of_new(shards: list[Path]) -> float:
    return _rate_of_batches(Gatherer(_open(shards), _VIEW_BYTES, Pages()).gather)


def _rate_of_batches(gather: Gather) -> float:
    count = FLAGS.examples // _SHARDS * _SHARDS

    def look_up(indices: tf.Tensor) -> tf.Tensor:
        rows = tf.numpy_function(gather, [indices, tf.zeros_like(indices)], tf.uint8)
        return tf.bitcast(tf.reshape(rows, [FLAGS.batch_size, *_SHAPE, 4]), tf.float32)

    examples = tf.data.Dataset.range(count).shuffle(count, seed=0).repeat()
    batches = examples.batch(FLAGS.batch_size, drop_remainder=True).map(look_up)
    stream = iter(batches.prefetch(2).with_options(worker_options()))
    for _ in range(_WARM):
        next(stream)
    start = time.perf_counter()
    for _ in range(FLAGS.batches):
        next(stream)
    return FLAGS.batches * FLAGS.batch_size / (time.perf_counter() - start)


if __name__ == "__main__":
    command.run(main)
