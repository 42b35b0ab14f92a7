"""The graph that every format holds: the run's model in float32, its weights inside."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from trainer import workarounds
from trainer.exporting.folder import writing


@dataclasses.dataclass(frozen=True)
class Graph:
    """What an artefact computes.

    Attributes:
        function: RGB, float32 [n, size, size, 3] in [0, 255], to probabilities, float32 [n,
            num_classes]; it has no variables.
        classes: Names, in the order of the probabilities.
        size: Side of the square in pixels.
    """

    function: Callable[[tf.Tensor], tf.Tensor]
    classes: Sequence[str]
    size: int

    @property
    def images(self) -> tf.TensorSpec:
        """What goes in."""
        return tf.TensorSpec([None, self.size, self.size, 3], tf.float32, name="images")


def of_model(model: keras.Model, classes: Sequence[str]) -> Graph:
    """Returns the graph of a model, in float32 whatever its layers computed in.

    ONNX and LiteRT know bfloat16 hardly or not at all. The weights become constants: LiteRT's
    converter leaves variables without their values, and a signature of TensorFlow's does not reach
    those of a nested model.
    """
    stored = keras.saving.serialize_keras_object(model)
    copy = _copy(model, _with_depthwise(_with_float32(stored)))
    size = model.input_shape[1]
    spec = tf.TensorSpec([None, size, size, 3], tf.float32, name="images")
    call = tf.function(lambda images: copy(images, training=False), autograph=False)
    frozen = workarounds.freeze_variables(call.get_concrete_function(spec))
    return Graph(lambda images: frozen(images)[0], classes, size)


def save(module: tf.Module, folder: Path, signatures: Mapping[str, Any]) -> None:
    """Writes a SavedModel that computes a graph, and is not to be trained.

    The gradients that some activations bring along, swish among them, cannot be written.
    """
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with writing(folder):
        tf.saved_model.save(module, str(folder), signatures=signatures, options=options)


def in_float32(model: keras.Model) -> keras.Model:
    """Returns a copy of a model of which every layer computes in float32."""
    return _copy(model, _with_float32(keras.saving.serialize_keras_object(model)))


def _copy(model: keras.Model, stored: Any) -> keras.Model:
    """Returns the model that is stored, with another one's weights."""
    copy = keras.saving.deserialize_keras_object(stored)
    pairs = zip(model.get_weights(), copy.weights, strict=True)
    copy.set_weights([array.reshape(variable.shape) for array, variable in pairs])
    _settle(copy)
    return copy


def is_float32(model: keras.Model) -> bool:
    """Whether every layer of a model computes in float32."""
    stored = keras.saving.serialize_keras_object(model)
    return stored == _with_float32(stored)


def _with_float32(stored: Any) -> Any:
    """What Keras stores of a model, with another dtype wherever one is named."""
    if isinstance(stored, list):
        return [_with_float32(each) for each in stored]
    if not isinstance(stored, dict):
        return stored
    if stored.get("class_name") == "DTypePolicy":
        return {**stored, "config": {**stored["config"], "name": "float32"}}
    return {
        name: "float32" if name == "dtype" and isinstance(value, str) else _with_float32(value)
        for name, value in stored.items()
    }


# What a depthwise convolution shares with one whose every channel is a group of its own.
_SHARED = (
    "name", "trainable", "dtype", "kernel_size", "strides", "padding", "data_format",
    "dilation_rate", "activation", "use_bias",
)  # fmt: skip


def _with_depthwise(stored: Any) -> Any:
    """What Keras stores of a model, with depthwise convolutions where groups come to the same.

    Keras has XLA compile those with groups, as in ConvNeXt, on a CPU: other runtimes have no XLA.
    """
    if isinstance(stored, list):
        return [_with_depthwise(each) for each in stored]
    if not isinstance(stored, dict):
        return stored
    if stored.get("class_name") != "Conv2D":
        return {name: _with_depthwise(value) for name, value in stored.items()}
    config, shape = stored["config"], stored["build_config"]["input_shape"]
    if not 1 < config["groups"] == config["filters"] == shape[-1]:
        return stored
    kept = {name: config[name] for name in _SHARED}
    return {**stored, "class_name": "DepthwiseConv2D", "config": {**kept, "depth_multiplier": 1}}


def _settle(model: keras.Model) -> None:
    """Keras's normalisation does not see that its weights were set."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            _settle(layer)
        elif isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
