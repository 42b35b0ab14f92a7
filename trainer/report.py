"""The report of a run: one self-contained page for a person to read."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from etils import epath
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from tfrecords import files
from trainer import plots
from trainer.predictions import Prediction

_BARS = 3
_JPEG_QUALITY = 85


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
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trainer"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html").render(
        facts=title_facts,
        metrics=metrics,
        classes=classes,
        curves=[_png(plots.learning_curve(history, name)) for name in ("loss", "accuracy")],
        confusion=_png(plots.confusion_matrix(metrics["confusion_matrix"], classes)),
        photographs=[_photograph(prediction, classes) for prediction in predictions],
    )
    files.write_atomically(path, page)


def _photograph(prediction: Prediction, classes: Sequence[str]) -> dict[str, Any]:
    top = prediction.top(_BARS)
    out = io.BytesIO()
    Image.fromarray(prediction.image).save(out, "JPEG", quality=_JPEG_QUALITY)
    return {
        "name": plots.shorten(prediction.name),
        "image": _data_url("image/jpeg", out.getvalue()),
        "bars": [(classes[label], probability) for label, probability in top],
        "truth": None if prediction.label is None else classes[prediction.label],
        "right": prediction.label is None or top[0][0] == prediction.label,
    }


def _png(figure: Figure) -> Markup:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=144)
    return _data_url("image/png", out.getvalue())


def _data_url(kind: str, content: bytes) -> Markup:
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")
