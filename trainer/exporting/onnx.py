"""ONNX: RGB in, probabilities out, opened by onnxruntime."""

import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from tfrecords import files
from trainer.exporting.graph import Graph

FILE = "model.onnx"
_OPSET = 17  # Read by every onnxruntime since 1.12.
_INPUT, _OUTPUT = "images", "probabilities"
# Where the time goes, and where 8 bits are enough: what a head does besides needs them all.
_QUANTIZED = ["Conv", "MatMul", "Gemm"]


def write(folder: Path, graph: Graph, representative: Iterable[np.ndarray] | None) -> None:
    """Writes the model, its batch dimension free; the names of the classes are in its metadata.

    Args:
        folder: Where to.
        graph: What it computes.
        representative: Squares of training photographs, RGB float32 [1, size, size, 3], over which
            activations get their ranges of 8 bits; None: all stays float32.

    Raises:
        OSError: if the disk is full.
    """
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    function = tf.function(graph.function, autograph=False)
    model, _ = tf2onnx.convert.from_function(
        function,
        input_signature=[graph.images],
        opset=_OPSET,
        custom_op_handlers={"Erfc": (_complement_of_erf, [])},
    )
    _name(model)
    if representative is not None:
        model = _quantize(folder, model, representative)
    model.metadata_props.add(key="classes", value=json.dumps(list(graph.classes)))
    onnx.checker.check_model(model)
    files.write_atomically(folder / FILE, model.SerializeToString())


def _complement_of_erf(context: Any, node: Any, *_: Any) -> None:
    """Computes what GELU needs, and ONNX has no operator for, from the one that it has.

    Args:
        context: tf2onnx's graph.
        node: TensorFlow's Erfc in it.
    """
    shapes, dtypes, given, result = node.output_shapes, node.output_dtypes, node.input, node.output
    context.remove_node(node.name)
    erf = context.make_node("Erf", given, shapes=shapes, dtypes=dtypes)
    one = context.make_const(f"{node.name}/one", np.ones([], np.float32))
    context.make_node(
        "Sub", [one.output[0], erf.output[0]],
        name=node.name, outputs=result, shapes=shapes, dtypes=dtypes,
    )  # fmt: skip


def _name(model: onnx.ModelProto) -> None:
    """Gives output and batch dimension names that mean something."""
    [given], [result] = model.graph.input, model.graph.output
    before, result.name = result.name, _OUTPUT
    given.type.tensor_type.shape.dim[0].dim_param = "batch"
    result.type.tensor_type.shape.dim[0].dim_param = "batch"
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == before:
                    names[place] = _OUTPUT


def _quantize(
    folder: Path, model: onnx.ModelProto, representative: Iterable[np.ndarray]
) -> onnx.ModelProto:
    """Returns it with the convolutions and matrix products in 8 bits."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        """Gives one square after the other."""

        def __init__(self) -> None:
            self._squares: Iterator[np.ndarray] = iter(representative)

        def get_next(self) -> dict[str, np.ndarray] | None:
            square = next(self._squares, None)
            return None if square is None else {_INPUT: square}

    quantized = folder / f"quantized-{FILE}"
    quantization.quantize_static(
        model,
        quantized,
        Reader(),
        op_types_to_quantize=_QUANTIZED,
        per_channel=True,
        reduce_range=True,  # 7 bits: without VNNI, sums of products of 8 bits overflow.
    )
    read = onnx.load(quantized)
    quantized.unlink()
    return read


class Opened:
    """A model, opened by onnxruntime."""

    def __init__(self, folder: Path) -> None:
        options: Any = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # Errors.
        self._session = onnxruntime.InferenceSession(
            folder / FILE, options, providers=["CPUExecutionProvider"]
        )

    def of_rgb(self, rgb: np.ndarray) -> np.ndarray:
        """Returns the probabilities of squares, float32 [n, num_classes]."""
        [probabilities] = self._session.run([_OUTPUT], {_INPUT: rgb})
        return probabilities
