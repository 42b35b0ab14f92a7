"""The report of a run: one self-contained page for a person to read."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath
from markupsafe import Markup
from PIL import Image

from cli import page
from tfrecords import files
from trainer.results import figures, plots
from trainer.results.predictions import Prediction, mistakes_first

_BARS = 3
_JPEG_QUALITY = 85
_PHOTOGRAPH_SIDE = 448  # Twice the widest it is shown, for dense screens.


class Title(NamedTuple):
    """Which run a page is of: a print-out is still known by it.

    Attributes:
        run: Name of its workdir.
        dataset: Name and digest of its data.
        date: When it was finished.
        command: What was typed.
    """

    run: str
    dataset: str
    date: str
    command: str


def write_report(
    path: epath.PathLike,
    *,
    title: Title,
    title_facts: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    metrics: Mapping[str, Any],
    predictions: Sequence[Prediction],
    classes: Sequence[str],
) -> None:
    """Writes the page.

    Args:
        path: The HTML file to write.
        title: Which run the page is of.
        title_facts: What to say of the run, {name: value}.
        history: The rows of history.csv.
        metrics: The content of metrics.json.
        predictions: Those on photographs whose true class is known.
        classes: Names, in the order of the probabilities.
    """
    content = page.render(
        "trainer",
        "report.html",
        title=title,
        facts=title_facts,
        metrics=metrics,
        classes=classes,
        baseline=figures.commonest(metrics) if metrics["num_examples"] else None,
        num_wrong=metrics["num_examples"] - sum(_diagonal(metrics["confusion_matrix"])),
        curves=[_curve(history, name) for name in ("loss", "accuracy") if history],
        photographs=[photograph(shown, classes) for shown in mistakes_first(predictions)],
    )
    files.write_atomically(path, content)


def photograph(prediction: Prediction, classes: Sequence[str]) -> dict[str, Any]:
    """Returns what a page's template shows of a prediction."""
    image = Image.fromarray(prediction.image)
    image.thumbnail((_PHOTOGRAPH_SIDE, _PHOTOGRAPH_SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_JPEG_QUALITY)
    return {
        "name": plots.shorten(epath.Path(prediction.name).name),
        "image": page.jpeg(out.getvalue()),
        "bars": [(classes[label], p) for label, p in prediction.top(_BARS)],
        "truth": None if prediction.label is None else classes[prediction.label],
        "taken_for": classes[prediction.predicted] if prediction.is_wrong else None,
    }


def _diagonal(matrix: Sequence[Sequence[int]]) -> list[int]:
    return [row[index] for index, row in enumerate(matrix)]


def _curve(history: Sequence[Mapping[str, float]], name: str) -> Markup:
    return page.svg(plots.learning_curve(history, name), name)
