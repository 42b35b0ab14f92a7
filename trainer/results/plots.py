"""The pictures: predictions with their bars, and learning curves."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cli.page import ACCENT, INK, LINE, QUIET
from tfrecords import files
from trainer.inference import answers
from trainer.results import fonts
from trainer.results.predictions import Prediction, mistakes_first

WRONG = "#dc2626"
_BAR = "#bfdbfe"
_TRACK = "#f3f4f6"
_COLUMNS = 3
_LONGEST_NAME = 34
_LONGEST_CLASS = 18
_LETTER_WIDTH, _PERCENTAGE_WIDTH = 0.022, 0.17  # Shares of the width of a photograph's column.
_LEFT_TO_RIGHT = "\u200e"  # A mark without width: whatever script the next word is of.
_MOST_NAMED = 5  # Values of a flag that each get a place of their own.
_MOST_MARKERS = 30  # Beyond this many epochs, the dots of a curve hide its line.


def draw_predictions(
    predictions: Sequence[Prediction],
    classes: Sequence[str],
    path: str | os.PathLike[str],
    top_k: int = 5,
) -> None:
    """Draws each photograph above the bars of its most probable classes, as a PNG.

    The folder of the PNG is made where there is none.

    Args:
        predictions: One or more; mistakes come first, the most confident before the others.
        classes: Names, in the order of the probabilities.
        path: The PNG to write.
        top_k: How many bars each photograph gets.

    Raises:
        ValueError: if there is no prediction.
    """
    if not predictions:
        raise ValueError("predictions must hold at least one photograph. Received: none.")
    names = [shorten(fonts.spell(name), _LONGEST_CLASS) for name in classes]
    titles = [fonts.spell(prediction.name) for prediction in predictions]
    with matplotlib.rc_context({"font.family": fonts.families([*names, *titles])}):
        figure = _picture(mistakes_first(predictions), names, top_k)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_writer(path) as file:
            figure.savefig(file, format="png", dpi=110)


def _picture(predictions: Sequence[Prediction], names: Sequence[str], top_k: int) -> Figure:
    columns = min(_COLUMNS, len(predictions))
    rows = math.ceil(len(predictions) / columns)
    bars = min(top_k, len(names))
    heights = [2.6, 0.28 * bars] * rows  # Inches: a photograph, then its bars.
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08)
    figure = Figure(figsize=(3.9 * columns, sum(heights) + 0.75 * rows), layout=layout)
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.axis("off")
    for index, prediction in enumerate(predictions):
        row, column = divmod(index, columns)
        _draw_photograph(grid[2 * row, column], prediction, names)
        _draw_bars(grid[2 * row + 1, column], prediction, names, bars)
    return figure


def _draw_photograph(axes: Axes, prediction: Prediction, names: Sequence[str]) -> None:
    axes.imshow(prediction.image)
    axes.set_anchor("N")  # So that the titles of a row stand on one line.
    name = shorten(fonts.spell(Path(prediction.name).name))
    title, colour = f"{_LEFT_TO_RIGHT}{name}", INK
    if prediction.label is not None and prediction.is_wrong:
        truth, predicted = names[prediction.label], names[prediction.predicted]
        title, colour = f"{title}\n{_LEFT_TO_RIGHT}{truth}, taken for {predicted}", WRONG
    elif prediction.is_rejected:
        title = f"{title}\n{_LEFT_TO_RIGHT}{answers.NONE}"
    axes.set_title(title, fontsize=9.5, color=colour, parse_math=False)


def _draw_bars(axes: Axes, prediction: Prediction, names: Sequence[str], count: int) -> None:
    top = prediction.top(count)
    # In units of a full bar: what stands left (names) and right (percentages) of the bars.
    width = 1.1 / (1 - _PERCENTAGE_WIDTH - _LETTER_WIDTH * max(map(fonts.width, names)))
    right = 1.02 + _PERCENTAGE_WIDTH * width
    axes.barh(np.arange(count), [1.0] * count, color=_TRACK, height=0.72)
    for rank, (label, probability) in enumerate(top):
        weight = "bold" if rank == 0 and not prediction.is_rejected else "normal"
        text: dict[str, Any] = {"va": "center", "fontsize": 9}
        axes.barh(rank, probability, color=_bar_colour(prediction, rank, label), height=0.72)
        axes.text(-0.02, rank, names[label], ha="right", parse_math=False, **text)
        text |= {"weight": weight, "family": fonts.OWN}
        axes.text(right, rank, f"{probability:.2%}", ha="right", **text)
    axes.set(xlim=(right - width, right), ylim=(count - 0.5, -0.5))


def _bar_colour(prediction: Prediction, rank: int, label: int) -> str:
    if rank == 0 and not prediction.is_rejected:
        return WRONG if prediction.is_wrong else ACCENT
    return ACCENT if label == prediction.label else _BAR


def shorten(text: str, longest: int = _LONGEST_NAME) -> str:
    """The text, its middle left out where it is too long, and bytes that are no UTF-8 as `?`."""
    text = text.encode(errors="replace").decode()
    longest = longest * len(text) // max(fonts.width(text), 1)  # Wide letters: fewer of them.
    half = longest // 2
    return text if len(text) <= longest else f"{text[: longest - half - 1]}…{text[-half:]}"


def learning_curve(history: Sequence[Mapping[str, float]], name: str) -> Figure:
    """`loss` or `accuracy` against epochs: training quiet, validation in the accent colour."""
    figure, axes = _plain_axes(name.capitalize(), "epoch")
    epochs = [row["epoch"] for row in history]
    style = "o-" if len(history) <= _MOST_MARKERS else "-"
    for key, colour in ((name, QUIET), (f"val_{name}", ACCENT)):
        values = [row[key] for row in history]
        if all(map(math.isnan, values)):  # Nothing validated the epochs.
            continue
        axes.plot(epochs, values, style, ms=3.5, lw=1.6, color=colour, clip_on=False)
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.set_xlim(0.5 if len(history) == 1 else None, 1.5 if len(history) == 1 else None)
    axes.set_ylim(bottom=0, top=1 if name == "accuracy" else None)
    return figure


def reliability_diagram(
    bins: Sequence[Mapping[str, float]], before: Sequence[Mapping[str, float]] = ()
) -> Figure:
    """How often answers are right against how sure they are: now in accent, before quiet.

    Dots are larger, the more photographs they stand for. On the diagonal probabilities are what
    they say.

    Args:
        bins: As `calibration.reliability` returns them.
        before: The same, before calibration.
    """
    figure, axes = _plain_axes("Right", "as sure as")
    axes.plot([0, 1], [0, 1], "--", lw=1, color=QUIET)
    for some, colour in ((before, QUIET), (bins, ACCENT)):
        total = sum(each["count"] for each in some) or 1
        sure = [each["confidence"] for each in some]
        right = [each["accuracy"] for each in some]
        sizes = [20 + 200 * each["count"] / total for each in some]
        axes.plot(sure, right, "-", lw=1.2, color=colour)
        axes.scatter(sure, right, sizes, color=colour, linewidths=0, zorder=3, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(steps=[2, 5, 10], nbins=5))
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.tick_params(axis="x", pad=7)
    return figure


def range_test_curve(
    rates: np.ndarray, losses: Sequence[float], smoothed: np.ndarray, suggestion: float | None
) -> Figure:
    """The loss against the learning rates that were tried: raw pale, smoothed in accent.

    Args:
        suggestion: The rate that is marked; None: none is.
    """
    figure, axes = _plain_axes("Loss", "learning rate")
    axes.plot(rates, losses, "-", lw=1, color=_BAR)
    axes.plot(rates, smoothed, "-", lw=1.8, color=ACCENT)
    axes.set_xscale("log")
    axes.minorticks_off()
    if suggestion is not None:
        loss = np.interp(np.log10(suggestion), np.log10(rates), smoothed)
        axes.plot([suggestion], [loss], "o", ms=6, color=INK)
        axes.annotate(
            f"{suggestion:.2g}", (suggestion, loss), (6, 6), textcoords="offset points",
            fontsize=9.5, color=INK, weight="bold",
        )  # fmt: skip
    if len(smoothed):  # An exploding end would press the rest flat.
        axes.set_ylim(0, 1.6 * np.median(losses))
    return figure


def score_by_trial(losses: Sequence[float | None], finished: Sequence[bool]) -> Figure:
    """The loss of each trial, those that were given up pale, and the lowest so far as a line."""
    figure, axes = _plain_axes("Loss", "trial")
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    for shown, colour in ((False, _BAR), (True, ACCENT)):
        numbers = [n for n, loss in enumerate(losses) if loss is not None and finished[n] is shown]
        axes.plot(numbers, [losses[n] for n in numbers], "o", ms=5, color=colour)
    counted = [loss if done else None for loss, done in zip(losses, finished, strict=True)]
    best = np.fmin.accumulate(np.array(counted, np.float64))
    axes.step(range(len(best)), best, where="post", lw=1.2, color=INK)
    _limit(axes, counted)
    return figure


def score_by_value(name: str, values: Sequence[Any], losses: Sequence[float]) -> Figure:
    """The loss of each finished trial against its value of a flag."""
    figure, axes = _plain_axes(f"--{name}", "")
    numbers = sorted({value for value in values if isinstance(value, int | float)})
    if len(numbers) > _MOST_NAMED:
        axes.plot(values, losses, "o", ms=5, color=ACCENT, alpha=0.7)
        if numbers[0] > 0 and numbers[-1] > 20 * numbers[0]:
            axes.set_xscale("log")
            axes.minorticks_off()
    else:
        names = [str(each) for each in numbers or sorted(set(values))]
        places = [names.index(str(value)) for value in values]
        axes.plot(places, losses, "o", ms=5, color=ACCENT, alpha=0.7)
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
    _limit(axes, losses)
    return figure


def _limit(axes: Any, losses: Sequence[float | None]) -> None:
    """Shows the better ones large: a few that went wrong would press them flat."""
    known = [loss for loss in losses if loss is not None]
    low, middle, high = min(known), float(np.median(known)), max(known)
    top = min(high, middle + 3 * (middle - low)) or high
    margin = 0.06 * (top - low) or 0.1
    axes.set_ylim(low - margin, top + margin)


def _plain_axes(title: str, x_label: str) -> tuple[Figure, Any]:
    """A small figure with faint horizontal lines and no frame."""
    figure = Figure(figsize=(4.2, 2.7), layout="constrained")
    axes: Any = figure.subplots()
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel(x_label, fontsize=9.5, color=INK)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.tick_params(length=0, labelsize=9.5, labelcolor=INK)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.spines[:].set_visible(False)
    return figure, axes
