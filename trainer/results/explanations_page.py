"""The page of explanations: photographs beside themselves with their heat maps."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from cli import page
from tfrecords import files
from trainer.inference.explanation import Explanation
from trainer.results import plots


class Shown(NamedTuple):
    """What the page shows of an explanation, small enough to keep many.

    Attributes:
        name: The photograph's file name.
        class_name: What it is explained for.
        probability: What the model says of that.
        photograph: A data URL.
        overlay: Another one.
        is_cold: Whether nothing on the photograph speaks for the class.
    """

    name: str
    class_name: str
    probability: float
    photograph: Markup
    overlay: Markup
    is_cold: bool

    @classmethod
    def of(
        cls, name: str, explanation: Explanation, overlay: np.ndarray, class_name: str
    ) -> "Shown":
        """Takes what is shown from an explanation and its overlay."""
        return cls(
            name=plots.shorten(Path(name).name),
            class_name=class_name,
            probability=explanation.probability,
            photograph=page.thumbnail(explanation.photograph),
            overlay=page.thumbnail(overlay),
            is_cold=not explanation.heat_map.any(),
        )


def write_page(
    path: str | os.PathLike[str],
    shown: Sequence[Shown],
    count: int,
    *,
    run: str,
    method: str,
    fit: str,
) -> None:
    """Writes the page.

    Args:
        path: The HTML file to write.
        shown: The explanations, or the first of them.
        count: How many there are.
        run: Name of its workdir.
        method: How the heat maps are made.
        fit: How a photograph becomes what the model sees, as --fit names it.
    """
    content = page.render(
        "trainer", "explanations.html", shown=shown, count=count, run=run, method=method, fit=fit
    )
    files.write_atomically(path, content)
