"""The report of a cross-validation: one self-contained page for a person to read."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from PIL import Image

from cli import page
from tfrecords import files
from trainer.results import figures
from trainer.results.predictions import Prediction
from trainer.results.predictions_file import Rows
from trainer.results.report import Title, photograph


def write_report(
    path: epath.PathLike,
    *,
    title: Title,
    facts: Mapping[str, str],
    metrics: Mapping[str, Any],
    mistakes: Sequence[Prediction],
    classes: Sequence[str],
) -> None:
    """Writes the page.

    Args:
        path: The HTML file to write.
        title: Which cross-validation the page is of.
        facts: What to say of it, {name: value}.
        metrics: The content of metrics.json.
        mistakes: Photographs that were taken for another class, the surest first.
        classes: Names, in the order of the probabilities.
    """
    matrix = np.array(metrics["confusion_matrix"])
    content = page.render(
        "trainer",
        "crossval.html",
        title=title,
        facts=facts,
        metrics=metrics,
        classes=classes,
        baseline=figures.commonest(metrics),
        num_wrong=int(matrix.sum() - matrix.trace()),
        photographs=[photograph(mistake, classes) for mistake in mistakes],
    )
    files.write_atomically(path, content)


def shown(rows: Rows, jpegs: Mapping[int, bytes], numbers: Sequence[int]) -> list[Prediction]:
    """Returns the predictions on these examples, with their photographs as they are stored."""
    return [
        Prediction(
            name=rows.files[number],
            image=np.asarray(Image.open(io.BytesIO(jpegs[number])).convert("RGB")),
            probabilities=rows.probabilities[number],
            label=int(rows.labels[number]),
        )
        for number in numbers
    ]
