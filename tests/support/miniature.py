"""A miniature of the model, so that a whole training run takes seconds.

`python tests/miniature.py FLAGS` is `python -m trainer.main FLAGS` with a model of two small dense
layers behind a coarse average of the photograph: everything but the size is real.
"""

import importlib.machinery
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support import warm

REPOSITORY = Path(__file__).parents[2]
# On PYTHONPATH, it makes `python -m trainer.main` train the miniature.
AS_MINIATURE = Path(__file__).parent / "as_miniature"


def build_miniature(
    num_classes: int,
    *,
    precision: str = "float32",
    seed: int = 0,
    for_training: bool = True,
    **_: Any,
) -> Any:
    """Takes the place of `trainer.model.classifier.build_model`."""
    import keras

    from trainer.numerics.dropout import PerExampleDropout
    from trainer.numerics.reproducible_model import ReproducibleModel

    dropout = PerExampleDropout if for_training else keras.layers.Dropout
    glorot = keras.initializers.GlorotUniform
    images = keras.Input((224, 224, 3), name="images")
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.AveragePooling2D(28)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(16, "relu", kernel_initializer=glorot(seed), dtype=precision)(x)
    x = dropout(0.5, seed=seed, dtype=precision)(x)
    x = keras.layers.Dense(
        num_classes, "softmax", kernel_initializer=glorot(seed + 1), dtype="float32"
    )(x)
    return (ReproducibleModel if for_training else keras.Model)(images, x, name="miniature")


def command(*flags: str, script: Sequence[str] = (__file__,)) -> list[str]:
    """The command line of a training run of the miniature."""
    return [sys.executable, *script, "--weights=none", "--num_gpus=0", *flags]


def environment() -> dict[str, str]:
    """This process's environment, with the repository to import from."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"}


def train(
    *flags: str, script: Sequence[str] = (__file__,), start: warm.Start = warm.up
) -> subprocess.CompletedProcess[str]:
    """Runs a training run of the miniature in a process of its own, as each strategy needs."""
    return subprocess.run(
        start(command(*flags, script=script)),
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip


def python(module: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m module` as a user would, with these variables in the environment."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True, text=True, env={**environment(), **variables}, check=False,
    )  # fmt: skip


def run(prepare: Callable[[], None] = lambda: None) -> None:
    """Runs `trainer.main` with the miniature.

    Args:
        prepare: As for `install`.
    """
    install(prepare)
    import trainer.main

    trainer.main.run()


def install(prepare: Callable[[], None] = lambda: None) -> None:
    """Makes this process's trainer, once it is imported, train the miniature.

    Args:
        prepare: Called once the trainer is imported, which it is in its own good time: what a
            signal does during TensorFlow's import is a matter of tests too.
    """

    class Patching(importlib.machinery.SourceFileLoader):
        def exec_module(self, module: Any) -> None:
            super().exec_module(module)
            for patched in (module, sys.modules["trainer.model.classifier"]):
                vars(patched)["build_model"] = build_miniature
            prepare()

    class Finder(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, name: str, *arguments: Any) -> Any:
            spec = super().find_spec(name, *arguments) if name == "trainer.train" else None
            if spec and spec.origin:
                spec.loader = Patching(name, spec.origin)
            return spec

    sys.meta_path.insert(0, Finder)


if __name__ == "__main__":
    run()
