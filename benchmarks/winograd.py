"""Times a convolution of VGG16 and its gradients, Keras's own beside the trainer's.

python -m benchmarks.winograd

Each is a layer without bias on the images of one part of a batch of 32. The two take turns, so that
a busy moment hits both.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import flags

from cli import command
from trainer.numerics import winograd

FLAGS = flags.FLAGS

flags.DEFINE_integer("batch_size", 8, "Images at once.", lower_bound=1)
flags.DEFINE_integer("runs", 5, "Of each.", lower_bound=1)


class Shape(NamedTuple):
    """A convolution's shape: pixels of height and width, channels in and out."""

    size: int
    channels: int
    filters: int


VGG16 = {  # Those that are Winograd's where they train.
    "block3_conv2": Shape(56, 256, 256),
    "block4_conv1": Shape(28, 256, 512),
    "block4_conv2": Shape(28, 512, 512),
    "block5_conv1": Shape(14, 512, 512),
}


def main(arguments: list[str]) -> None:
    """Prints a line for each convolution."""
    command.refuse_arguments(arguments)
    for name, shape in VGG16.items():
        keras_own, ours = _measure(shape)
        print(
            f"{name} {shape.channels:4} -> {shape.filters:3} channels, {shape.size:3} x "
            f"{shape.size:3}: Keras's {keras_own * 1e3:5.0f} ms, Winograd's {ours * 1e3:4.0f} ms, "
            f"{keras_own / ours:.2f} times as fast",
            flush=True,
        )


def _measure(shape: Shape) -> tuple[float, float]:
    """Returns the median seconds of Keras's and of ours."""
    rng = np.random.default_rng(0)
    size = (FLAGS.batch_size, shape.size, shape.size)
    images, kernel, upstream = (
        tf.constant(rng.normal(size=of), tf.float32)
        for of in (
            (*size, shape.channels),
            (3, 3, shape.channels, shape.filters),
            (*size, shape.filters),
        )
    )
    contestants = [
        _with_gradients(convolve)
        for convolve in (lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), winograd.convolve)
    ]
    for contestant in contestants:
        contestant(images, kernel, upstream)  # Traced and compiled.
    runs: list[list[float]] = [[], []]
    for _ in range(FLAGS.runs):
        for seconds, contestant in zip(runs, contestants, strict=True):
            start = time.perf_counter()
            contestant(images, kernel, upstream).numpy()
            seconds.append(time.perf_counter() - start)
    return statistics.median(runs[0]), statistics.median(runs[1])


def _with_gradients(
    convolve: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.types.experimental.GenericFunction:
    @tf.function(autograph=False)
    def go_through(images: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """Returns a number for which all has to be computed."""
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            outputs = convolve(images, kernel)
        gradients = tape.gradient(outputs, [images, kernel], upstream)
        return tf.add_n([tensor[0, 0, 0, 0] for tensor in (outputs, *gradients)])

    return go_through


if __name__ == "__main__":
    command.run(main)
