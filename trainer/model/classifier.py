"""VGG16 with a new head, its first layers frozen: the model as the seed has it."""

import functools
from typing import Any

import keras
import tensorflow as tf

from trainer.config import IMAGE_SIZE, NUM_VGG_LAYERS, TrainConfig
from trainer.model.learning_rate import Schedule
from trainer.numerics.dropout import PerExampleDropout
from trainer.numerics.reproducible_model import ReproducibleModel
from trainer.numerics.winograd import WinogradConv2D
from trainer.workdir.files import Workdir, read_json

DROPOUT = 0.5

# Channels from which on a convolution is Winograd's. With fewer, images are large: what it works in
# would take several times the memory of everything else.
_WIDE = 256

# The means of ImageNet's pixels that VGG16 was trained with (Simonyan and Zisserman, 2014).
_MINUS_BGR_MEANS = [-103.939, -116.779, -123.68]


def build_model(
    num_classes: int,
    *,
    freeze_layers: int = TrainConfig.freeze_layers,
    head: str = TrainConfig.head,
    precision: str = TrainConfig.precision,
    seed: int = TrainConfig.seed,
    fast_convolutions: str = TrainConfig.fast_convolutions,
    for_training: bool = True,
) -> keras.Model:
    """Returns the model, its weights random: photographs in, class probabilities out.

    Args:
        num_classes: Size of the softmax.
        freeze_layers: How many of VGG16's 19 layers, its input among them, do not train.
        head: `flatten` keeps every place of the last feature map, `gap` averages over them.
        precision: Keras's dtype policy of every layer between preprocessing and softmax, which are
            float32 like all weights: bytes less their means, and probabilities, need the bits.
        seed: Of the head's initial weights and of dropout.
        fast_convolutions: auto: wide float32 convolutions that train on a CPU are Winograd's. off:
            all are Keras's own. The weights are the same, and their names.
        for_training: Whether model and dropout are those that no number of replicas changes. The
            saved model is made of Keras's own layers, so that it loads without this project.

    The input is RGB, uint8 or float, [batch, 224, 224, 3] in [0, 255]; preprocessing is inside. The
    output is float32, [batch, num_classes].

    Raises:
        ValueError: if freeze_layers is not between 0 and 19.
    """
    if not 0 <= freeze_layers <= NUM_VGG_LAYERS:
        raise ValueError(
            f"freeze_layers must be between 0 and {NUM_VGG_LAYERS}. "
            f"Received: freeze_layers={freeze_layers}."
        )
    images = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3), name="images")
    x = _subtract_means(keras.ops.flip(images, axis=-1) if for_training else _flip(images))
    fast = for_training and fast_convolutions == "auto" and precision == "float32"
    fast = fast and not tf.config.get_visible_devices("GPU")
    for place, of_keras in enumerate(_vgg_without_input(), start=1):
        trains = place >= freeze_layers
        kind = WinogradConv2D if fast and trains and _is_wide(of_keras) else type(of_keras)
        # Keras's function takes no dtype policy but the process's.
        layer = kind.from_config({**of_keras.get_config(), "dtype": precision})
        layer.trainable = trains
        x = layer(x)

    dropout = PerExampleDropout if for_training else keras.layers.Dropout
    glorot = keras.initializers.GlorotUniform
    x = _pool(head, precision)(x)
    x = keras.layers.Dense(
        256, "relu", kernel_initializer=glorot(seed), dtype=precision, name="dense"
    )(x)
    x = dropout(DROPOUT, seed=seed, dtype=precision, name="dropout")(x)
    probabilities = keras.layers.Dense(
        num_classes,
        "softmax",
        kernel_initializer=glorot(seed + 1),
        dtype="float32",
        name="probabilities",
    )(x)
    model_class = ReproducibleModel if for_training else keras.Model
    return model_class(images, probabilities, name="vgg16_animals")


def _subtract_means(bgr: keras.KerasTensor) -> keras.KerasTensor:
    """With the flip, what keras.applications.vgg16.preprocess_input computes in six layers."""
    return keras.layers.Rescaling(
        1.0, offset=_MINUS_BGR_MEANS, dtype="float32", name="minus_means"
    )(bgr)


def _flip(rgb: keras.KerasTensor) -> keras.KerasTensor:
    """Returns BGR, by layers alone: how operations are stored is another in each Keras.

    A cropping layer that takes columns for channels, and channels for columns, keeps one channel.
    """
    channels = [
        keras.layers.Cropping2D(
            ((0, 0), (place, 2 - place)), data_format="channels_first", dtype="float32", name=name
        )(rgb)
        for place, name in enumerate(("red", "green", "blue"))
    ]
    return keras.layers.Concatenate(axis=-1, dtype="float32", name="bgr")(channels[::-1])


def _vgg_without_input() -> list[keras.Layer]:
    """VGG16's own, block1_conv1 to block5_pool: each takes the output of the one before."""
    return keras.applications.VGG16(include_top=False, weights=None).layers[1:]


def _is_wide(layer: keras.Layer) -> bool:
    """Whether it is a convolution of so many channels that its tiles are not many."""
    return isinstance(layer, keras.layers.Conv2D) and layer.kernel.shape[2] >= _WIDE


def _pool(head: str, precision: str) -> keras.Layer:
    if head == "gap":
        return keras.layers.GlobalAveragePooling2D(dtype=precision, name="gap")
    return keras.layers.Flatten(dtype=precision, name="flatten")


def for_inference(model: keras.Model, config: TrainConfig) -> keras.Model:
    """Returns a copy that Keras loads from 3.5 on, without the project and training state."""
    copy = build_model(
        model.output_shape[-1],
        freeze_layers=config.freeze_layers,
        head=config.head,
        precision=config.precision,
        for_training=False,
    )
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        layer.get_config = functools.partial(_config_for_all, layer)
    return copy


def _config_for_all(layer: keras.Layer) -> dict[str, Any]:
    """What is stored of a layer, without options that an older Keras does not know."""
    config = type(layer).get_config(layer)
    if "kernel_initializer" in config:  # The weights are stored too.
        config["kernel_initializer"] = "zeros"
    if config.get("quantization_config", ...) is None:
        del config["quantization_config"]
    return config


def load_model(workdir: Workdir) -> keras.Model:
    """Loads the trained model of a run.

    Raises:
        ValueError: if the run has none yet, or one of other classes than it says.
    """
    workdir.require_model()
    model = keras.models.load_model(str(workdir.model), compile=False)
    num_outputs, num_classes = model.output_shape[-1], len(read_json(workdir.classes))
    if num_outputs != num_classes:
        raise ValueError(
            "The model and the names of its classes do not belong together. Received: "
            f"{workdir.model} with {num_outputs} outputs, {workdir.classes.name} with "
            f"{num_classes} names. Put the run's own files back."
        )
    return model


def create_optimizer(
    config: TrainConfig, learning_rate: Schedule | float
) -> keras.optimizers.Optimizer:
    """SGD with momentum 0.9, as the seed has it, or AdamW; with a loss scale for float16."""
    options = {} if config.weight_decay is None else {"weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(learning_rate, **options)
    else:
        optimizer = keras.optimizers.SGD(learning_rate, momentum=0.9, **options)
    if config.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
