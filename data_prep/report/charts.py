"""Draws the figures of a dataset's report, in colours that the page replaces by its own.

None shows a class's name, which may be in any script: names are left to the page's own text.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cli.page import ACCENT, INK, LINE, QUIET

_WIDTH = 4.2  # Inches, at which a phone shows the text as large as the page's own.

_TICK_SHARE = 0.08  # How much of the axis's width the text of a tick takes.


class Axis(NamedTuple):
    """A quantity on a logarithmic scale.

    Attributes:
        label: Name and unit of the quantity.
        ticks: {text: value}.
        per_octave: Number of bars for each doubling.
    """

    label: str
    ticks: Mapping[str, float]
    per_octave: int


SHORT_SIDE = Axis("short side, pixels", {str(2**i): 2**i for i in range(3, 17)}, 4)
ASPECT = Axis(
    "width : height",
    {"1:4": 1 / 4, "1:2": 1 / 2, "2:3": 2 / 3, "1:1": 1, "3:2": 3 / 2, "2:1": 2, "4:1": 4},
    6,
)
AREA = Axis("share of the photograph", {f"{s:g} %": s / 100 for s in (0.01, 0.1, 1, 10, 100)}, 1)


def draw_histogram(values: Sequence[float], axis: Axis, mark: float | None = None) -> Figure:
    """Draws how often each value occurs.

    Args:
        values: Each above 0.
        axis: The quantity that the values are of.
        mark: A value to draw a line at, such as a threshold.
    """
    figure, axes = _axes(height=2.3)
    edges = _edges([*values, *([mark] if mark else [])], axis.per_octave)
    heights, _ = np.histogram(values, edges)
    axes.bar(edges[:-1], heights, np.diff(edges), align="edge", color=ACCENT, lw=0)
    axes.set_xscale("log")
    if mark:
        axes.axvline(mark, color=INK, lw=1.2)
    shown = _apart(axis.ticks, edges[0], edges[-1])
    axes.set_xticks(list(shown.values()), list(shown))
    axes.minorticks_off()
    axes.set_xlabel(axis.label, fontsize=9.5, color=INK)
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    return figure


def _apart(ticks: Mapping[str, float], low: float, high: float) -> dict[str, float]:
    """Returns the ticks within the range, without those that would overprint the one before."""
    shown: dict[str, float] = {}
    for text, at in ticks.items():
        is_near = shown and np.log(at / max(shown.values())) < _TICK_SHARE * np.log(high / low)
        if low < at <= high and not is_near:
            shown[text] = at
    return shown


def _edges(values: Sequence[float], per_octave: int) -> npt.NDArray[np.float64]:
    """Returns the bars' edges: equal steps of the logarithm, around all values."""
    octaves = np.log2(values) * per_octave
    low, high = np.floor(octaves.min() + 1e-9), np.ceil(octaves.max() - 1e-9)
    middle, least = (low + high) / 2, 2 * per_octave  # So that a single value has neighbours.
    low, high = min(low, np.floor(middle - least)), max(high, np.ceil(middle + least))
    return 2 ** (np.arange(low, high + 1) / per_octave)


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes: Any = figure.subplots()
    axes.tick_params(length=0, labelsize=9.5, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes
