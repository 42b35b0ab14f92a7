"""Keras as the trainer needs it, whatever a user's own settings of it say.

Keras reads `keras.json` and some variables once, as it is imported. With another backend, order of
an image's axes or kind of numbers nothing here would run, or something else would come out.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from cli import startup

# Keras's own defaults.
_DEFAULTS = {
    "backend": "tensorflow",
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "nnx_enabled": False,
}
_BACKEND = "KERAS_BACKEND"
_LIMITS = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED")


def import_keras(*, find_devices: bool = False) -> None:
    """Imports Keras by its own defaults, on TensorFlow; warns of settings that it overrules.

    Every command calls it before it imports anything that imports Keras. The user's file is neither
    read by Keras nor written.

    Args:
        find_devices: Whether to look for GPUs too, for a command that uses whatever there is: what
            TensorFlow prints where it finds none is hidden here.
    """
    if overruled := describe_overruled(os.environ):
        logging.warning("Keras: %s.", "; ".join(overruled))
    for name in _LIMITS:
        os.environ.pop(name, None)
    os.environ[_BACKEND] = str(_DEFAULTS["backend"])
    home = os.environ.get("KERAS_HOME")
    os.environ["KERAS_HOME"] = os.devnull  # A place where no file is, nor can be made.
    try:
        with startup.quiet():
            import keras  # noqa: F401
            import tensorflow as tf

            gpus = tf.config.list_physical_devices("GPU") if find_devices else []
        if find_devices:
            startup.warn_of_unused_gpu(len(gpus))
    finally:
        del os.environ["KERAS_HOME"]
        if home is not None:
            os.environ["KERAS_HOME"] = home


def home(environ: Mapping[str, str]) -> Path:
    """Returns the folder of the user's settings and downloaded weights."""
    return Path(environ.get("KERAS_HOME", "~/.keras")).expanduser()


def describe_overruled(environ: Mapping[str, str]) -> list[str]:
    """Returns a phrase for each of the user's settings that is overruled."""
    path = home(environ) / "keras.json"
    wanted = _read(path)
    damaged = wanted is None
    wanted = wanted or {}
    sources = dict.fromkeys(wanted, str(path))
    if environ.get(_BACKEND):
        wanted["backend"], sources["backend"] = environ[_BACKEND], _BACKEND
    overruled = [
        f"{name} {default} in place of {wanted[name]} ({sources[name]})"
        for name, default in _DEFAULTS.items()
        if wanted.get(name, default) != default
    ]
    return [
        *([f"{path} is passed over: it cannot be read as JSON"] if damaged else []),
        *overruled,
        *(f"{name} is passed over" for name in _LIMITS if environ.get(name)),
    ]


def _read(path: Path) -> dict[str, Any] | None:
    """Returns what the user's file sets, nothing where there is none; None if it is damaged."""
    try:
        settings = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError):
        return None
    return settings if isinstance(settings, dict) else None
