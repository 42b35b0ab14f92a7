"""A miniature of a backbone, so that a whole training run takes seconds.

`python tests/support/miniature.py FLAGS` is `python -m trainer.main FLAGS` with a coarse average of
the photograph in VGG16's place: everything else is real. MINIATURE_CONVOLUTIONS=3 in the
environment puts so many small convolutions behind it, which have weights to freeze and to tune.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support import miniature_backbone, warm

REPOSITORY = Path(__file__).parents[2]
# On PYTHONPATH, it makes `python -m trainer.main` train the miniature.
AS_MINIATURE = Path(__file__).parent / "as_miniature"


def command(*flags: str, script: Sequence[str] = (__file__,)) -> list[str]:
    """The command line of a training run of the miniature."""
    return [sys.executable, *script, "--weights=none", "--num_gpus=0", *flags]


def environment() -> dict[str, str]:
    """This process's environment, with the repository to import from."""
    # Without what this process has set as it imported Keras.
    inherited = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return {**inherited, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"}


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

    convolutions = int(os.environ.get("MINIATURE_CONVOLUTIONS", 0))
    trainer.main.run(miniature_backbone.create(prepare, convolutions))


if __name__ == "__main__":
    run()
