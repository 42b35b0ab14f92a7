"""TensorFlow's SavedModel: JPEG bytes in, the view of training inside; or RGB."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecords import images
from trainer.data.view import View
from trainer.exporting.graph import Graph, save

_Answers = dict[str, tf.Tensor]


def write(folder: Path, graph: Graph, view: View, image_size: int) -> None:
    """Writes the SavedModel into a folder, with two signatures.

    `serving_default` takes `jpegs`, string [n], each the bytes of an upright JPEG; `rgb` takes
    `images`, float32 [n, size, size, 3] in [0, 255]. Both return `classes`, string [n], the most
    probable one of each, and `probabilities`, float32 [n, num_classes].

    Args:
        folder: Where to.
        graph: What it computes.
        view: How a photograph becomes the square that the model takes.
        image_size: Upper bound of the short side of the photographs that it was trained on, as they
            are stored; 0: there is none.

    Raises:
        OSError: if the disk is full.
    """
    module = tf.Module()
    module.classes = tf.constant(list(graph.classes))

    def answer(rgb: tf.Tensor) -> _Answers:
        probabilities = graph.function(rgb)
        best = tf.gather(module.classes, tf.argmax(probabilities, axis=1))
        return {"classes": best, "probabilities": probabilities}

    def square(jpeg: tf.Tensor) -> tf.Tensor:
        return view.square(_as_stored(jpeg, image_size))

    def answer_jpegs(jpegs: tf.Tensor) -> _Answers:
        squares = tf.map_fn(square, jpegs, fn_output_signature=tf.uint8)
        return answer(tf.cast(tf.ensure_shape(squares, graph.images.shape), tf.float32))

    of_jpegs = _function(answer_jpegs, tf.TensorSpec([None], tf.string, name="jpegs"))
    of_rgb = _function(answer, graph.images)
    module.of_jpegs, module.of_rgb = of_jpegs, of_rgb
    save(module, folder, {"serving_default": of_jpegs, "rgb": of_rgb})


def _function(call: Callable[[tf.Tensor], _Answers], spec: tf.TensorSpec) -> Any:
    return tf.function(call, input_signature=[spec], autograph=False)


def _as_stored(jpeg: tf.Tensor, image_size: int) -> tf.Tensor:
    """Returns a JPEG no larger than those of the dataset, which a build has shrunk.

    One of too many pixels is an error before it is decoded, as it is to a build.
    """
    stored = tf.io.extract_jpeg_shape(jpeg, tf.int32)[:2]
    num_pixels = tf.reduce_prod(tf.cast(stored, tf.int64))
    allowed = tf.debugging.Assert(
        num_pixels <= images.MAX_PIXELS, ["A photograph has too many pixels:", num_pixels]
    )
    with tf.control_dependencies([allowed]):
        jpeg = tf.identity(jpeg)
    if not image_size:
        return jpeg

    def shrink() -> tf.Tensor:
        image = tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE")
        sides = tf.round(shape * (image_size / tf.reduce_min(shape)))
        sides = tf.cast(sides, tf.int32)  # Shrunk in two steps, as `tfrecords.images.shrink` does.
        twice = tf.round(tf.image.resize(image, 2 * sides, antialias=True))
        smaller = tf.image.resize(twice, sides, method="area")
        pixels = tf.saturate_cast(tf.round(smaller), tf.uint8)
        return tf.io.encode_jpeg(pixels, quality=images.JPEG_QUALITY)

    shape = tf.cast(stored, tf.float32)
    return tf.cond(tf.reduce_min(shape) > image_size, shrink, lambda: jpeg)


class Opened:
    """A SavedModel, opened by TensorFlow."""

    def __init__(self, folder: Path) -> None:
        self._module = tf.saved_model.load(str(folder))

    def of_jpegs(self, jpegs: list[bytes]) -> np.ndarray:
        """Returns the probabilities of JPEGs, float32 [n, num_classes]."""
        signature = self._module.signatures["serving_default"]
        return signature(jpegs=tf.constant(jpegs))["probabilities"].numpy()

    def of_rgb(self, rgb: np.ndarray) -> np.ndarray:
        """Returns the probabilities of squares, float32 [n, num_classes]."""
        signature = self._module.signatures["rgb"]
        return signature(images=tf.constant(rgb))["probabilities"].numpy()
