"""Flat illustrations as vector shapes, painted last, so that each outline is known exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw

Point = tuple[float, float]
Points = npt.NDArray[np.float64]  # A closed outline, [n, 2]: x, y.
Colour = tuple[int, int, int]

_TURNS = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1)


def rotation(degrees: float) -> Points:
    """Returns the [2, 2] matrix that turns row vectors counter-clockwise (y upwards)."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cos, sin], [-sin, cos]])


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0) -> Points:
    """Returns an ellipse around (x, y), turned counter-clockwise."""
    return (_CIRCLE * (rx, ry)) @ rotation(degrees) + (x, y)


def polygon(*corners: Point) -> Points:
    """Returns straight edges through the corners."""
    return np.array(corners, dtype=np.float64)


def blob(*corners: Point) -> Points:
    """Returns a smooth closed curve through the corners (Catmull-Rom)."""
    p0, p1, p2, p3 = (np.roll(polygon(*corners), shift, axis=0) for shift in (1, 0, -1, -2))
    t = np.linspace(0, 1, 7)[:-1, None, None]
    cubic, square = 3 * (p1 - p2) + p3 - p0, 2 * p0 - 5 * p1 + 4 * p2 - p3
    curve = p1 + t / 2 * (p2 - p0 + t * (square + t * cubic))
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def limb(start: Point, bend: Point, end: Point, w0: float, w1: float) -> Points:
    """Returns a round-ended stroke along a quadratic curve, tapering from width w0 to w1."""
    (a, b, c), t = np.array([start, bend, end], dtype=np.float64), np.linspace(0, 1, 9)[:, None]
    spine = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
    along = (1 - t) * (b - a) + t * (c - b)
    along /= np.maximum(np.hypot(along[:, :1], along[:, 1:]), 1e-9)
    side, width = along[:, ::-1] * (-1, 1), (w0 + (w1 - w0) * t) / 2
    left, right = spine + side * width, spine - side * width
    cap = np.linspace(0, np.pi, 7)[1:-1, None]
    nose = spine[-1] + width[-1] * (np.cos(cap) * side[-1] + np.sin(cap) * along[-1])
    heel = spine[0] - width[0] * (np.cos(cap) * side[0] + np.sin(cap) * along[0])
    return np.concatenate([left, nose, right[::-1], heel])


def shade(colour: Colour, factor: float) -> Colour:
    """Returns a darker and warmer (factor < 1) or a lighter colour."""
    warmer = np.array(colour) * factor ** np.array((0.85, 1, 1.1))
    red, green, blue = warmer.clip(0, 255).astype(int).tolist()
    return red, green, blue


def blend(a: Colour, b: Colour, t: float) -> Colour:
    """Interpolates between two colours: a at t = 0, b at t = 1."""
    red, green, blue = (round(x + (y - x) * t) for x, y in zip(a, b, strict=True))
    return red, green, blue


def wash(
    canvas: Image.Image,
    colour: Colour,
    *shapes: Points,
    opacity: float,
    within: Image.Image | None = None,
) -> None:
    """Paints translucent shapes, clipped to `within`, a mask of mode L."""
    corners = np.concatenate(shapes)
    low = np.clip(np.floor(corners.min(axis=0)), 0, canvas.size).astype(int).tolist()
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, canvas.size).astype(int).tolist()
    box = (low[0], low[1], high[0], high[1])  # Only here can a pixel change.
    if low[0] == high[0] or low[1] == high[1]:
        return
    layer = Image.new("L", (high[0] - low[0], high[1] - low[1]))
    draw = ImageDraw.Draw(layer)
    for shape in shapes:
        draw.polygon((shape - low).ravel().tolist(), fill=round(255 * opacity))
    if within is not None:
        layer = ImageChops.multiply(layer, within.crop(box))
    canvas.paste(colour, box, layer)


@dataclasses.dataclass
class Stroke:
    """Shapes of one colour; a mark is clipped to what is drawn so far, so the outline stays."""

    colour: Colour
    shapes: Sequence[Points]
    is_mark: bool = False
    opacity: float = 1.0


class Sketch:
    """A drawing as a list of strokes, back to front."""

    def __init__(self, strokes: Iterable[Stroke] = ()) -> None:
        self.strokes = list(strokes)

    def add(self, colour: Colour, *shapes: Points) -> None:
        """Adds shapes that belong to the outline."""
        self.strokes.append(Stroke(colour, shapes))

    def mark(self, colour: Colour, *shapes: Points, opacity: float = 1.0) -> None:
        """Adds stripes, spots or shadow, cut off at the outline so far."""
        self.strokes.append(Stroke(colour, shapes, is_mark=True, opacity=opacity))

    def outline(self) -> list[Points]:
        """Returns the polygons whose union is the silhouette."""
        return [shape for stroke in self.strokes if not stroke.is_mark for shape in stroke.shapes]

    def moved(self, matrix: Points, offset: Point = (0, 0)) -> Sketch:
        """Returns the sketch with each point x moved to x @ matrix + offset."""
        return Sketch(
            dataclasses.replace(stroke, shapes=[shape @ matrix + offset for shape in stroke.shapes])
            for stroke in self.strokes
        )

    def paint(self, canvas: Image.Image) -> Image.Image:
        """Paints onto an RGB canvas, in its pixels, and returns the silhouette: L, 0 or 255."""
        mask = Image.new("L", canvas.size)
        on_canvas, on_mask = ImageDraw.Draw(canvas), ImageDraw.Draw(mask)
        for stroke in self.strokes:
            if stroke.is_mark:
                wash(canvas, stroke.colour, *stroke.shapes, opacity=stroke.opacity, within=mask)
                continue
            for shape in stroke.shapes:
                corners = shape.ravel().tolist()
                on_canvas.polygon(corners, fill=stroke.colour)
                on_mask.polygon(corners, fill=255)
        return mask
