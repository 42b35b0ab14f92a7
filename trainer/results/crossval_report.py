"""The report of a cross-validation: one self-contained page for a person to read."""

import io
import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from PIL import Image

from cli import page
from tfrecords import files
from trainer.results import figures
from trainer.results.predictions import Prediction
from trainer.results.predictions_file import Rows
from trainer.results.report import Photographs, Title, shared_content


def write_report(
    path: str | os.PathLike[str],
    *,
    title: Title,
    facts: Mapping[str, str],
    metrics: Mapping[str, Any],
    photographs: Photographs,
    classes: list[str],
) -> None:
    """Writes the page.

    Args:
        path: The HTML file to write.
        title: Which cross-validation the page is of.
        facts: What to say of it, {name: value}.
        metrics: The content of metrics.json.
        photographs: What is shown of the examples.
        classes: Names, in the order of the probabilities.
    """
    content = page.render(
        "trainer",
        "crossval.html",
        title=title,
        facts=facts,
        baseline=figures.commonest(metrics),
        **shared_content(metrics, photographs, classes),
    )
    files.write_atomically(path, content)


def predictions(
    rows: Rows, jpegs: Mapping[int, bytes], numbers: Collection[int]
) -> dict[int, Prediction]:
    """Returns the predictions on these examples, with their photographs as they are stored."""
    return {
        number: Prediction(
            name=rows.files[number],
            image=np.asarray(Image.open(io.BytesIO(jpegs[number])).convert("RGB")),
            probabilities=rows.probabilities[number],
            label=int(rows.labels[number]),
        )
        for number in numbers
    }
