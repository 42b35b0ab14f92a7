"""The picture of a confusion matrix."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from cli.page import ACCENT, INK
from trainer.results import fonts

_MOST_NUMBERED = 20  # Classes: of more, the numbers would not be read.


def picture(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> np.ndarray:
    """Draws how many of each class, a row, were taken for which, a column.

    Args:
        matrix: int [num_classes, num_classes].
        classes: Names of rows and columns.

    Returns:
        RGB, uint8 [height, width, 3].
    """
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [fonts.spell(name) for name in classes]
    side = min(3.0 + 0.4 * len(classes), 14.0)  # Inches.
    with matplotlib.rc_context({"font.family": fonts.families(names)}):
        figure = Figure(figsize=(side, side), layout="constrained", dpi=100)
        axes = figure.subplots()
        colours = LinearSegmentedColormap.from_list("shares", ["#ffffff", ACCENT])
        axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
        size = 9 if len(classes) <= _MOST_NUMBERED else 6
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(range(len(names)), names, fontsize=size, parse_math=False)
        axes.set_xlabel("taken for", color=INK)
        axes.set_ylabel("is", color=INK)
        axes.tick_params(length=0, labelcolor=INK)
        axes.spines[:].set_visible(False)
        if len(classes) <= _MOST_NUMBERED:
            for (row, column), count in np.ndenumerate(counts):
                colour = "white" if shares[row, column] > 0.5 else INK
                text = f"{count:,}" if count else ""
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
