"""The classifier, by transfer learning: a backbone, its first layers frozen, and a new head."""

import functools
from typing import Any

import keras
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.model.backbone import VGG16, Backbone
from trainer.model.freezing import count_frozen, may_train
from trainer.model.head import Head
from trainer.model.layer_rates import Unfreezings, first_trained
from trainer.model.normalization import StoredNormalization
from trainer.model.several_views import averaged_over
from trainer.model.temperature import with_temperature
from trainer.numerics.reproducible_model import ReproducibleModel
from trainer.numerics.winograd import WinogradConv2D

# Channels from which on a convolution is Winograd's. With fewer, images are large: what it works in
# would take several times the memory of everything else.
_WIDE = 256


def build_model(
    num_classes: int,
    *,
    backbone: Backbone = VGG16,
    input_size: int | None = None,
    freeze_layers: int | None = TrainConfig.freeze_layers,
    freeze_until: str | None = TrainConfig.freeze_until,
    unfreezings: Unfreezings = (),
    head: Head | None = None,
    precision: str = TrainConfig.precision,
    fast_convolutions: str = TrainConfig.fast_convolutions,
    for_training: bool = True,
) -> keras.Model:
    """Returns the model, its weights random: photographs in, class probabilities out.

    Args:
        num_classes: Size of the softmax.
        backbone: The network before the head.
        input_size: Pixels of the square that it takes; None: what the backbone was trained on.
        freeze_layers: How many of the backbone's layers, its input among them, do not train; None:
            the backbone's own number.
        freeze_until: The first of them that trains, in its place. Batch normalisation never does:
            everywhere it keeps its statistics, scale and shift.
        unfreezings: Which of those train all the same, from some epoch on: here, from the start.
        head: What stands behind the backbone; None: the reference recipe's.
        precision: Keras's dtype policy of every layer between preprocessing and softmax, which are
            float32 like all weights: bytes less their means, and probabilities, need the bits.
        fast_convolutions: auto: wide float32 convolutions that train on a CPU are Winograd's. off:
            all are Keras's own. The weights are the same, and their names.
        for_training: Whether model and dropout are those that no number of replicas changes. The
            saved model is made of Keras's own layers, so that it loads without this project.

    The input is RGB, uint8 or float, [batch, size, size, 3] in [0, 255]; preprocessing is inside.
    The output is float32, [batch, num_classes]. The model's `backbone_layers` are the names of the
    backbone's own layers, in order, its input left out; its `freeze_layers` are as given.

    Raises:
        FlagsError: if the backbone has not so many layers, or none of this name.
        ValueError: if an unfreezing names a layer that is not frozen.
    """
    size = input_size or backbone.input_size
    images = keras.Input((size, size, 3), name="images")
    preprocessed = backbone.preprocess(images, for_training)
    network = backbone.network(preprocessed)
    fast = for_training and fast_convolutions == "auto" and precision == "float32"
    fast = fast and not tf.config.get_visible_devices("GPU")
    positions = _positions(network, preprocessed)
    names = tuple(layer.name for layer in positions)
    num_frozen = count_frozen(backbone, [images.name, *names], freeze_layers, freeze_until)
    first = first_trained(names, num_frozen, unfreezings)

    def adapt(layer: keras.Layer) -> keras.Layer:
        """Copies a layer: the applications of Keras take no dtype policy but the process's."""
        if layer not in positions:  # Preprocessing.
            return type(layer).from_config(layer.get_config())
        trains = positions[layer] >= first and may_train(layer)
        kind = _kind(layer, for_training, fast and trains)
        adapted = kind.from_config({**layer.get_config(), **_changes(layer, precision)})
        adapted.trainable = trains
        return adapted

    base = keras.models.clone_model(network, clone_function=adapt)
    head = head or Head()
    probabilities = head.probabilities(base.outputs[0], num_classes, precision, for_training)
    model_class = ReproducibleModel if for_training else keras.Model
    model = model_class(base.inputs[0], probabilities, name=f"{backbone.name}_animals")
    model.backbone_layers, model.freeze_layers = names, num_frozen
    return model


def _positions(network: keras.Model, preprocessed: keras.KerasTensor) -> dict[keras.Layer, int]:
    """Returns where each of the backbone's own layers stands in it; its input stands at 0."""
    foreign = keras.Model(network.inputs, preprocessed).layers
    own = [layer for layer in network.layers if layer not in foreign]
    return {layer: position for position, layer in enumerate(own, start=1)}


def _kind(layer: keras.Layer, for_training: bool, fast: bool) -> type[keras.Layer]:
    """What takes a layer's place: Keras's own, but where it would be slow or not see a weight."""
    if fast and _suits_winograd(layer):
        return WinogradConv2D
    if for_training and isinstance(layer, keras.layers.Normalization):
        return StoredNormalization
    return type(layer)


def _changes(layer: keras.Layer, precision: str) -> dict[str, Any]:
    """What is another than in Keras's network: the dtype, and that nothing is left to chance.

    Layers that only scale pixels stay float32. Dropout of whole branches would not be the same on
    another number of replicas.
    """
    if isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization):
        return {"dtype": "float32"}
    return {"dtype": precision, **({"rate": 0} if isinstance(layer, keras.layers.Dropout) else {})}


def _suits_winograd(layer: keras.Layer) -> bool:
    """Whether it is a convolution that Winograd's takes, of so many channels that it pays."""
    return (
        isinstance(layer, keras.layers.Conv2D)
        and layer.kernel_size == (3, 3)
        and layer.strides == layer.dilation_rate == (1, 1)
        and layer.padding == "same"
        and layer.groups == 1
        and layer.kernel.shape[2] >= _WIDE
        and all(side % 2 == 0 for side in layer.output.shape[1:3])
    )


def for_inference(
    model: keras.Model, config: TrainConfig, backbone: Backbone, temperature: float | None = None
) -> keras.Model:
    """Returns a copy that Keras loads from 3.5 on, without the project and training state.

    Args:
        temperature: What its probabilities are calibrated by; None: they are not.
    """
    copy = build_model(
        model.output_shape[-1],
        backbone=backbone,
        input_size=config.input_size,
        freeze_layers=config.freeze_layers,
        freeze_until=config.freeze_until,
        unfreezings=config.unfreezings,
        head=Head.from_config(config),
        precision=config.precision,
        for_training=False,
    )
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # Keras's own does not see that its weights were set.
        layer.get_config = functools.partial(_config_for_all, layer)
    whole = with_temperature(averaged_over(copy, config.test_views), temperature)
    for layer in whole.layers:
        if layer is not copy:
            layer.get_config = functools.partial(_config_for_all, layer)
    return whole


def _config_for_all(layer: keras.Layer) -> dict[str, Any]:
    """What is stored of a layer, without options that an older Keras does not know."""
    config = type(layer).get_config(layer)
    for name in ("kernel_initializer", "depthwise_initializer", "pointwise_initializer"):
        if name in config:  # The weights are stored too.
            config[name] = "zeros"
    if config.get("quantization_config", ...) is None:
        del config["quantization_config"]
    if config.get("antialias") is False:  # Resizing's.
        del config["antialias"]
    if config.get("renorm") is False:  # Batch normalisation's.
        config = {name: value for name, value in config.items() if not name.startswith("renorm")}
    return config
