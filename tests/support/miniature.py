"""A miniature of a backbone, so that a whole training run takes seconds.

`python tests/support/miniature.py FLAGS` is `python -m trainer.main FLAGS` with a coarse average of
the photograph in VGG16's place: everything else is real.
"""

import dataclasses
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support import warm
from trainer.model.backbone import VGG16, Backbone

REPOSITORY = Path(__file__).parents[2]
# On PYTHONPATH, it makes `python -m trainer.main` train the miniature.
AS_MINIATURE = Path(__file__).parent / "as_miniature"


def create(prepare: Callable[[], None] = lambda: None) -> Backbone:
    """Returns the miniature.

    Args:
        prepare: Called as it is first built, by when the trainer is imported, which it is in its
            own good time: what a signal does during TensorFlow's import is a matter of tests too.
    """
    prepare_once = functools.cache(prepare)

    def shrink(images: Any) -> Any:
        """A feature map of 8 by 8 positions, whatever the size of the photograph."""
        import keras

        prepare_once()
        side = images.shape[1] // 8
        means = keras.layers.AveragePooling2D(side, name="means")(images)
        return keras.Model(keras.utils.get_source_inputs(images), means)

    return dataclasses.replace(
        VGG16, name="miniature", title="The miniature", preprocess=_scale, network=shrink
    )


def _scale(rgb: Any, _: bool) -> Any:
    import keras

    return keras.layers.Rescaling(1 / 255, dtype="float32", name="scale")(rgb)


MINIATURE = create()


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
        prepare: Called as the miniature is first built.
    """
    import trainer.main

    trainer.main.run(create(prepare))


if __name__ == "__main__":
    run()
