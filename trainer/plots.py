"""The pictures: predictions with their bars, learning curves, the confusion matrix."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from tfrecords import files
from trainer.predictions import Prediction

ACCENT = "#2563eb"
WRONG = "#dc2626"
_QUIET = "#9ca3af"
_BAR = "#bfdbfe"
_COLUMNS = 3
_LONGEST_NAME = 34


def draw_predictions(
    predictions: Sequence[Prediction], classes: Sequence[str], path: epath.PathLike, top_k: int = 5
) -> None:
    """Draws each photograph above the bars of its most probable classes, as a PNG.

    Args:
        predictions: One or more.
        classes: Names, in the order of the probabilities.
        path: Of the PNG.
        top_k: How many bars each photograph gets.
    """
    columns = min(_COLUMNS, len(predictions))
    rows = math.ceil(len(predictions) / columns)
    bars = min(top_k, len(classes))
    heights = [2.6, 0.28 * bars] * rows  # Inches: a photograph, then its bars.
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(3.9 * columns, sum(heights) + 0.7 * rows), layout=layout)
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.axis("off")
    for index, prediction in enumerate(predictions):
        row, column = divmod(index, columns)
        _draw_photograph(grid[2 * row, column], prediction)
        _draw_bars(grid[2 * row + 1, column], prediction, classes, bars)
    with files.atomic_writer(path) as file:
        figure.savefig(file, format="png", dpi=110)


def _draw_photograph(axes: Axes, prediction: Prediction) -> None:
    axes.imshow(prediction.image)
    axes.set_title(shorten(prediction.name), fontsize=9.5, color="#374151")


def _draw_bars(axes: Axes, prediction: Prediction, classes: Sequence[str], count: int) -> None:
    top = prediction.top(count)
    right = prediction.label is None or top[0][0] == prediction.label
    colours = [ACCENT if right else WRONG] + [_BAR] * (count - 1)
    places = np.arange(count)
    axes.barh(places, [1.0] * count, color="#f3f4f6", height=0.72)
    axes.barh(places, [probability for _, probability in top], color=colours, height=0.72)
    for place, (label, probability) in enumerate(top):
        weight = "bold" if place == 0 else "normal"
        axes.text(-0.02, place, classes[label], ha="right", va="center", fontsize=9, weight=weight)
        axes.text(1.02, place, f"{probability:.2%}", va="center", fontsize=9, weight=weight)
    axes.set(xlim=(-0.32, 1.22), ylim=(count - 0.5, -0.5))


def shorten(name: str) -> str:
    """The name without its folders, its middle left out where it is too long for a title."""
    name = epath.Path(name).name
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


def learning_curve(history: Sequence[Mapping[str, float]], name: str) -> Figure:
    """`loss` or `accuracy` against epochs, in training and in validation."""
    figure = Figure(figsize=(4.8, 3.1), layout="constrained")
    axes: Any = figure.subplots()
    epochs = [row["epoch"] for row in history]
    for key, label, colour in (
        (name, "training", _QUIET),
        (f"val_{name}", "validation", ACCENT),
    ):
        axes.plot(epochs, [row[key] for row in history], "o-", ms=3.5, color=colour, label=label)
    axes.set_title(name.capitalize(), loc="left", fontsize=11)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_ylim(bottom=0, top=1.02 if name == "accuracy" else None)
    axes.legend(frameon=False)
    return figure


def confusion_matrix(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Counts of predicted against true classes; the colour is the share of the true class."""
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.52 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes: Any = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.55 else "#111827"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
