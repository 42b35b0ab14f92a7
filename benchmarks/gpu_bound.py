"""What a device makes of VGG16 in plain Keras, on a batch that lies in its memory: the bound.

python -m benchmarks.gpu_bound --precision=mixed_bfloat16 --batch_sizes=256,32

`fit` gets no data but the number of a step, so that nothing is read, decoded or copied; there are
no callbacks, no validation and no checkpoints. Prints a line of JSON for each figure as soon as it
is known: `train` is the step of trainer.main from images, `features` that from the frozen layers'
output, `forward` the model without a step, `frozen` its frozen layers alone.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from cli import command
from cli.flags import options_of
from trainer import workarounds
from trainer.config import TrainConfig
from trainer.model.classifier import build_model
from trainer.model.division import cut
from trainer.model.optimizer import create_optimizer

FLAGS = flags.FLAGS

_PRECISION = options_of(TrainConfig)["precision"]

flags.DEFINE_enum("precision", _PRECISION.default, _PRECISION.choices, "As trainer.main takes it.")
flags.DEFINE_bool("jit_compile", TrainConfig.jit_compile, "XLA compiles the whole step.")
flags.DEFINE_integer("freeze_layers", TrainConfig.freeze_layers, "As trainer.main takes it.")
flags.DEFINE_list("batch_sizes", ["256", "32"], "Images in a batch, one after the other.")
flags.DEFINE_integer("num_gpus", 1, "0: the CPU.", lower_bound=0, upper_bound=1)
flags.DEFINE_float("seconds", 1.5, "How long a figure is measured.", lower_bound=0.0)

_NUM_CLASSES = 8
_LEARNING_RATE = 1e-4
_WARM_STEPS = 3  # Behind the first, in which graphs are built and kernels chosen.


class Resident(keras.Model):
    """A functional model that trains on the same batch in each step, whatever it is given.

    Attributes:
        batch: (images or features, one-hot labels), in the device's memory.
    """

    batch: tuple[tf.Tensor, tf.Tensor]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Keras's own step."""
        return super().train_step(self.batch)


def main(arguments: list[str]) -> None:
    """Prints the device, and the figures."""
    command.refuse_arguments(arguments)
    gpus = tf.config.list_physical_devices("GPU")[: FLAGS.num_gpus]
    if len(gpus) < FLAGS.num_gpus:
        raise ValueError(f"No GPU is visible. Received: num_gpus={FLAGS.num_gpus}. Use 0.")
    tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    names = [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in gpus]
    _print(device=", ".join(map(str, names)) or "CPU", tensorflow=tf.__version__)
    for batch_size in map(int, FLAGS.batch_sizes):
        for what, rate in _rates(batch_size):
            _print(what=what, batch_size=batch_size, images_per_second=rate, peak_bytes=_peak(gpus))


def _rates(batch_size: int) -> Iterator[tuple[str, float]]:
    """Yields what was measured, and images a second."""
    model = build_model(
        _NUM_CLASSES,
        freeze_layers=FLAGS.freeze_layers,
        precision=FLAGS.precision,
        for_training=False,
    )
    frozen, rest = cut(model)
    pixels = np.random.default_rng(0).integers(0, 256, [batch_size, *model.input_shape[1:]])
    images = tf.constant(pixels, tf.uint8)
    yield "train", batch_size * _steps_per_second(model, images)
    yield "forward", batch_size * _rate_of(_pass(model, images))
    yield "frozen", batch_size * _rate_of(_pass(frozen, images))
    yield "features", batch_size * _steps_per_second(rest, frozen(images))


def _steps_per_second(model: keras.Model, inputs: tf.Tensor) -> float:
    """Returns the rate of plain Keras `fit`."""
    config = TrainConfig(data_dir="no data", workdir="no run", precision=FLAGS.precision)
    resident = Resident(model.inputs, model.outputs)
    labels = np.arange(len(inputs)) % _NUM_CLASSES
    resident.batch = (inputs, tf.one_hot(labels, _NUM_CLASSES))
    resident.compile(
        optimizer=create_optimizer(config, _LEARNING_RATE),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=FLAGS.jit_compile,
    )
    workarounds.build_training(resident)
    numbers = tf.data.Dataset.range(1).repeat()

    def fit(steps: int) -> None:
        resident.fit(numbers, steps_per_epoch=steps, verbose=0)

    return _rate_of(fit)


def _pass(model: keras.Model, images: tf.Tensor) -> Callable[[int], None]:
    """Returns what goes through a model so many times, and waits for the last."""

    @tf.function(jit_compile=FLAGS.jit_compile)
    def once() -> tf.Tensor:
        return tf.reduce_sum(tf.cast(model(images, training=False), tf.float32))

    def repeatedly(times: int) -> None:
        sums = [once() for _ in range(times)]
        sums[-1].numpy()

    return repeatedly


def _rate_of(repeatedly: Callable[[int], None]) -> float:
    """How many times a second it happens, once it is warm."""
    repeatedly(1)
    each = _time(repeatedly, _WARM_STEPS) / _WARM_STEPS
    times = max(1, math.ceil(FLAGS.seconds / each))
    return times / _time(repeatedly, times)


def _time(repeatedly: Callable[[int], None], times: int) -> float:
    start = time.perf_counter()
    repeatedly(times)
    return time.perf_counter() - start


def _peak(gpus: list[Any]) -> int | None:
    """Bytes of the device's memory that were taken at most since the last call; None: a CPU's."""
    if not gpus:
        return None
    peak = int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    tf.config.experimental.reset_memory_stats("GPU:0")
    return peak


def _print(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    command.run(main)
