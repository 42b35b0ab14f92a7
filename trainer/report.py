"""The report of a run: one self-contained page for a person to read."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from markupsafe import Markup
from PIL import Image

from cli import page
from tfrecords import files
from trainer import plots
from trainer.predictions import Prediction

_BARS = 3
_JPEG_QUALITY = 85
_PHOTOGRAPH_SIDE = 448  # Twice the widest it is shown, for dense screens.


def write_report(
    path: epath.PathLike,
    *,
    title_facts: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    metrics: Mapping[str, Any],
    predictions: Sequence[Prediction],
    classes: Sequence[str],
) -> None:
    """Writes the page.

    Args:
        path: Of the HTML file.
        title_facts: What to say of the run, {name: value}.
        history: The rows of history.csv.
        metrics: The content of metrics.json.
        predictions: On photographs whose label is known.
        classes: Names, in the order of the probabilities.
    """
    content = page.render(
        "trainer",
        "report.html",
        facts=title_facts,
        metrics=metrics,
        classes=classes,
        curves=[_curve(history, name) for name in ("loss", "accuracy") if history],
        photographs=[_photograph(prediction, classes) for prediction in predictions],
    )
    files.write_atomically(path, content)


def _photograph(prediction: Prediction, classes: Sequence[str]) -> dict[str, Any]:
    image = Image.fromarray(prediction.image)
    image.thumbnail((_PHOTOGRAPH_SIDE, _PHOTOGRAPH_SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_JPEG_QUALITY)
    return {
        "name": plots.shorten(epath.Path(prediction.name).name),
        "image": page.jpeg(out.getvalue()),
        "bars": [(classes[label], p) for label, p in prediction.top(_BARS)],
        "truth": None if prediction.label is None else classes[prediction.label],
        "wrong": prediction.is_wrong,
    }


def _curve(history: Sequence[Mapping[str, float]], name: str) -> Markup:
    return page.svg(plots.learning_curve(history, name), name)
