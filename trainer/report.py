"""The report of a run: one self-contained page for a person to read."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import matplotlib
from etils import epath
from markupsafe import Markup
from PIL import Image

from tfrecords import files
from trainer import plots
from trainer.predictions import Prediction

_BARS = 3
_JPEG_QUALITY = 85
_PHOTOGRAPH_SIDE = 448  # Twice the widest it is shown, for dense screens.
# The page's own colours, so that a figure follows its light or dark mode.
_THEME = {
    plots.ACCENT: "var(--accent)",
    plots.INK: "var(--ink)",
    plots.QUIET: "var(--quiet)",
    plots.LINE: "var(--line)",
}


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
        curves=[_curve(history, name) for name in ("loss", "accuracy") if history],
        photographs=[_photograph(prediction, classes) for prediction in predictions],
    )
    files.write_atomically(path, page)


def _photograph(prediction: Prediction, classes: Sequence[str]) -> dict[str, Any]:
    image = Image.fromarray(prediction.image)
    image.thumbnail((_PHOTOGRAPH_SIDE, _PHOTOGRAPH_SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_JPEG_QUALITY)
    return {
        "name": plots.shorten(epath.Path(prediction.name).name),
        "image": Markup(f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"),
        "bars": [(classes[label], p) for label, p in prediction.top(_BARS)],
        "truth": None if prediction.label is None else classes[prediction.label],
        "wrong": prediction.is_wrong,
    }


def _curve(history: Sequence[Mapping[str, float]], name: str) -> Markup:
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure = plots.learning_curve(history, name)
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]  # Without the XML prologue, which HTML does not know.
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)  # Unique in the page.
    for colour, variable in _THEME.items():
        svg = svg.replace(colour, variable)
    return Markup(svg)
