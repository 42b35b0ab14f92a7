"""What TensorBoard is shown of a finished run: its hyperparameters, figures and pictures."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import summary_v2 as hparams  # Its `api` needs tf.keras.

from trainer.tracking.trackers import Pictures


def write(
    directory: Path,
    settings: Mapping[str, Any],
    figures: Mapping[str, Any],
    pictures: Pictures,
    step: int,
) -> None:
    """Writes them beside what the epochs left, in place of those of an earlier end.

    Args:
        directory: Where TensorBoard looks.
        settings: What the run was asked for, for the page of hyperparameters.
        figures: Those of one number are shown.
        pictures: Each under its caption.
        step: How many epochs are done.
    """
    folder = directory / "results"
    if folder.exists():
        shutil.rmtree(folder)
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step):
        hparams.hparams({name: _plain(value) for name, value in settings.items()})
        for name, value in figures.items():
            if isinstance(value, float):
                tf.summary.scalar(name, value)
        for caption, pixels in pictures.items():
            tf.summary.image(caption, pixels[None])
    writer.close()


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
