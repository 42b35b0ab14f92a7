"""How fast the training input comes by itself: photographs and features, to the host and the GPU.

python -m benchmarks.gpu_input --data_dir=D --batch_size=256

The features are computed first where --cache_dir does not hold them.
"""

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Iterable

import tensorflow as tf
from absl import flags

from cli import command, paths
from trainer import train
from trainer.config import TrainConfig
from trainer.data.source import worker_options
from trainer.run import Run

FLAGS = flags.FLAGS

paths.define("data_dir", None, "What data_prep.build made.", required=True)
paths.define("cache_dir", None, "Where the features are, or go; unset: a temporary folder.")
flags.DEFINE_integer("batch_size", 256, "Photographs in a batch.", lower_bound=1)
flags.DEFINE_integer("batches", 60, "How many are timed.", lower_bound=1)
flags.DEFINE_integer("num_gpus", 1, "0: the CPU.", lower_bound=0, upper_bound=1)
flags.DEFINE_list("threads", ["1", "2", "4", "8", "16"], "That gather a batch of features.")

_WARM = 2  # Batches.


def main(arguments: list[str]) -> None:
    """Prints images a second."""
    command.refuse_arguments(arguments)
    with tempfile.TemporaryDirectory() as directory:
        config = TrainConfig(
            data_dir=FLAGS.data_dir,
            workdir=f"{directory}/run",
            weights="none",
            batch_size=FLAGS.batch_size,
            num_gpus=FLAGS.num_gpus,
            cache_features="on",
            cache_dir=FLAGS.cache_dir or f"{directory}/features",
        )
        run = train.prepare(config)
        assert run.features
        train.settle(run)
        train.fill_features(run)
        _print("features, to the device", train.training_batches(run))
        with tf.device("CPU:0"):
            _print_those_to_the_host(run)
        from_photographs = dataclasses.replace(run, features=None)
        _print("photographs, to the device", train.training_batches(from_photographs))


def _print_those_to_the_host(run: Run) -> None:
    split, features = run.train_split, run.features
    assert features
    _print("photographs, to the host", run.photographs.training_batches(split, run.order))
    _print("features, to the host", features.training_batches(split, run.order))
    examples = tf.data.Dataset.range(split.num_examples).repeat()
    for threads in map(int, FLAGS.threads):
        look_up = features.look_up(split, threads)
        gathered = examples.batch(FLAGS.batch_size, drop_remainder=True).map(
            lambda indices, look_up=look_up: look_up(indices, tf.zeros_like(indices)),
            num_parallel_calls=1,
        )
        gathered = gathered.prefetch(2).with_options(worker_options())
        _print(f"features, gathered by {threads}", gathered)


def _print(name: str, batches: Iterable[object]) -> None:
    stream = iter(batches)
    for _ in itertools.islice(stream, _WARM):
        pass
    start = time.perf_counter()
    for _ in itertools.islice(stream, FLAGS.batches):
        pass
    rate = FLAGS.batches * FLAGS.batch_size / (time.perf_counter() - start)
    print(f"{name}: {rate:,.0f} images/s", flush=True)


if __name__ == "__main__":
    command.run(main)
