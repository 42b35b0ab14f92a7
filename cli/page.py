"""Makes a page for a person: one HTML file that needs nothing else and follows light or dark."""

import base64
import io
import re
from typing import Any

import jinja2
import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

# The colours that a figure is drawn in; a page turns them into its own, light or dark.
ACCENT = "#2563eb"
INK = "#374151"
QUIET = "#9ca3af"
LINE = "#e5e7eb"
TINT = "#c9dbfd"
_THEME = {ACCENT: "--accent", INK: "--ink", QUIET: "--quiet", LINE: "--line", TINT: "--tint"}


def render(package: str, template: str, **content: Any) -> str:
    """Fills a template of a package, which extends `page.html` of this one.

    Args:
        package: Whose folder `templates` holds the template.
        template: Its name.
        content: What the template shows; plain strings are escaped.
    """
    loaders = [jinja2.PackageLoader(package), jinja2.PackageLoader("cli")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(template).render(content)


def jpeg(content: bytes) -> Markup:
    """Returns a JPEG as a data URL, for an image's `src`."""
    return Markup(f"data:image/jpeg;base64,{base64.b64encode(content).decode()}")


def thumbnail(pixels: np.ndarray, side: int = 448) -> Markup:
    """Returns a photograph as a data URL, small: RGB uint8 [height, width, 3].

    Args:
        pixels: The photograph.
        side: The most that its longer side has; unset: twice the widest that pages show it, for
            dense screens.
    """
    image, out = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((side, side))
    image.save(out, "JPEG", quality=85)
    return jpeg(out.getvalue())


def svg(figure: Figure, name: str) -> Markup:
    """A figure as SVG in the page's colours and typeface; equal figures give equal text.

    Args:
        figure: With text of one colour of this module, or lines, or areas.
        name: Unique in the page: the SVG's ids begin with it.
    """
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]  # Without the XML prologue, which HTML does not know.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for colour, variable in _THEME.items():
        text = text.replace(colour, f"var({variable})")
    return Markup(text)
