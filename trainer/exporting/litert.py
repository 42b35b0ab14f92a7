"""LiteRT, which was TensorFlow Lite: RGB in, probabilities out, opened by ai_edge_litert."""

import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from cli import machine
from tfrecords import files
from trainer.exporting.graph import Graph, save

FILE = "model.tflite"
_LABELS = "labels.txt"


def write(folder: Path, graph: Graph, representative: Iterable[np.ndarray] | None) -> None:
    """Writes the model, its batch dimension free, with the names of the classes inside.

    They are where TensorFlow Lite's tools have files that belong to a model: `unzip -p model.tflite
    labels.txt` prints them.

    Args:
        folder: Where to.
        graph: What it computes.
        representative: Squares of training photographs, RGB float32 [1, size, size, 3], over which
            activations get their ranges of 8 bits; None: all stays float32.

    Raises:
        OSError: if the disk is full.
    """
    converted = _convert(folder / "tensorflow", graph, representative)
    files.write_atomically(folder / FILE, converted)
    with zipfile.ZipFile(folder / FILE, "a") as labels:
        labels.writestr(_LABELS, "".join(f"{name}\n" for name in graph.classes))


def _convert(temporary: Path, graph: Graph, representative: Iterable[np.ndarray] | None) -> bytes:
    """Converts from a SavedModel, whose signature gives input and output their names."""
    module = tf.Module()
    module.call = tf.function(
        lambda images: {"probabilities": graph.function(images)},
        input_signature=[graph.images],
        autograph=False,
    )
    save(module, temporary, {"serving_default": module.call})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(temporary))
    if representative is not None:

        def examples() -> Iterator[dict[str, np.ndarray]]:
            for square in representative:
                yield {"images": square}

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
    converted = converter.convert()
    shutil.rmtree(temporary)
    return converted


class Opened:
    """A model, opened by LiteRT."""

    def __init__(self, folder: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(folder / FILE), num_threads=machine.cores())
        self._run = self._interpreter.get_signature_runner()

    def of_rgb(self, rgb: np.ndarray) -> np.ndarray:
        """Returns the probabilities of squares, float32 [n, num_classes]."""
        return self._run(images=rgb)["probabilities"]
