"""Backgrounds for the drawn animals: a landscape, a room, and what an animal stands on."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from data_prep.synthetic.drawing import (
    Colour,
    Points,
    Sketch,
    blend,
    blob,
    ellipse,
    limb,
    polygon,
    shade,
    wash,
)


class Biome(NamedTuple):
    """The colours of a landscape, from top to bottom, and the shape of its trees."""

    sky: Colour
    haze: Colour
    far: Colour
    near: Colour
    leaf: Colour
    trees: str


_MEADOW = Biome(
    (96, 176, 232), (214, 236, 248), (150, 196, 104), (92, 152, 72), (74, 138, 76), "round"
)
_SAVANNA = Biome(
    (122, 196, 222), (250, 234, 196), (232, 200, 128), (206, 160, 88), (132, 142, 66), "flat"
)
_SNOW = Biome(
    (140, 176, 214), (232, 240, 250), (240, 244, 252), (204, 218, 236), (70, 112, 104), "pine"
)
_DUSK = Biome((92, 112, 170), (250, 190, 150), (148, 136, 108), (96, 104, 86), (70, 84, 84), "pine")
_BEACH = Biome(
    (74, 168, 226), (196, 234, 246), (246, 226, 176), (228, 198, 140), (96, 160, 92), "palm"
)
_AUTUMN = Biome(
    (166, 194, 216), (240, 236, 222), (178, 176, 112), (132, 138, 82), (212, 126, 58), "round"
)
_BIOMES = (_MEADOW, _SAVANNA, _SNOW, _DUSK, _BEACH, _AUTUMN)
_WALLS = ((226, 214, 196), (178, 204, 200), (232, 196, 180), (188, 190, 214), (214, 206, 150))
_FLOORS = ((172, 118, 78), (206, 170, 124), (140, 140, 146), (122, 88, 66))
_TRIM, _SUN, _NIGHT = (244, 240, 232), (255, 244, 200), (24, 24, 40)
_ROOM_SHARE = 0.2


def _backdrop(size: tuple[int, int], horizon: int, *colours: Colour) -> Image.Image:
    """Returns an RGB image with one gradient above the horizon and another below it."""
    above = np.linspace(colours[0], colours[1], horizon)
    below = np.linspace(colours[2], colours[3], size[1] - horizon)
    column = np.concatenate([above, below]).astype(np.uint8)[:, None]
    return Image.fromarray(column).resize(size, Image.Resampling.NEAREST)


def _block(x: float, y: float, w: float, h: float) -> Points:
    return polygon((x, y), (x + w, y), (x + w, y + h), (x, y + h))


def _tree(rng: np.random.Generator, biome: Biome) -> Sketch:
    """Returns a tree of height 1, its foot at the origin."""
    s, leaf = Sketch(), shade(biome.leaf, rng.uniform(0.85, 1.15))
    bark, lean = shade((122, 92, 70), rng.uniform(0.8, 1.1)), rng.uniform(-0.1, 0.1)
    if biome.trees == "pine":
        s.add(bark, _block(-0.05, 0, 0.1, 0.3))
        for k in range(3):
            wide, low = 0.3 - 0.07 * k, 0.16 + 0.24 * k
            s.add(shade(leaf, 0.85 + 0.1 * k), polygon((-wide, low), (wide, low), (0, low + 0.42)))
    elif biome.trees == "flat":
        s.add(bark, limb((0, 0), (lean, 0.4), (lean - 0.2, 0.75), 0.08, 0.04))
        s.add(bark, limb((lean, 0.4), (lean, 0.6), (0.22, 0.75), 0.05, 0.03))
        s.add(leaf, ellipse(-0.16, 0.76, 0.4, 0.1), ellipse(0.22, 0.82, 0.42, 0.11))
    elif biome.trees == "palm":
        x = 3 * lean
        s.add(bark, limb((0, 0), (lean, 0.5), (x, 0.85), 0.09, 0.05))
        for k in range(6):
            dx, dy = np.cos(k * np.pi / 5), np.sin(k * np.pi / 5)
            bend, tip = (x + 0.25 * dx, 0.95 + 0.15 * dy), (x + 0.45 * dx, 0.72 + 0.25 * dy)
            s.add(shade(leaf, 0.85 + 0.06 * k), limb((x, 0.85), bend, tip, 0.08, 0.02))
    else:
        s.add(bark, limb((0, 0), (0, 0.3), (lean, 0.6), 0.1, 0.06))
        s.add(shade(leaf, 0.88), ellipse(-0.17, 0.6, 0.2, 0.19), ellipse(0.18, 0.58, 0.2, 0.18))
        s.add(leaf, ellipse(0, 0.76, 0.25, 0.23))
    return s


def _sky(rng: np.random.Generator, biome: Biome, width: int, height: int) -> Sketch:
    """Returns a sun, perhaps, and up to three clouds."""
    s = Sketch()
    if rng.random() < 0.6:
        x, y, r = (0, 0.08, 0.04) + rng.random(3) * (1, 0.22, 0.05)
        for colour, radius in ((blend(biome.sky, _SUN, 0.35), 1.5 * r), (_SUN, r)):
            s.add(colour, ellipse(x * width, y * height, radius * height, radius * height))
    for _ in range(rng.integers(0, 4)):
        x, y, r = np.array((0, 0.05, 0.03)) + rng.random(3) * (1, 0.3, 0.04)
        x, y, r = x * width, y * height, r * height
        puffs = [(k * r, 0.2 * r * k * k, (1 - 0.2 * k * k) * r) for k in (-1.6, -0.5, 0.6, 1.6)]
        s.add(
            blend(biome.haze, (255, 255, 255), 0.5),
            *[ellipse(x + dx, y + dy, 1.3 * r, ry) for dx, dy, ry in puffs],
        )
    return s


def _landscape(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, int]:
    biome = _BIOMES[rng.integers(len(_BIOMES))]
    horizon = int(height * rng.uniform(0.42, 0.66))
    canvas = _backdrop((width, height), horizon, *biome[:4])
    s = _sky(rng, biome, width, height)
    xs = np.linspace(0, 1, 33)
    for tone in (0.35, 0.7):  # The farther hills are hazier.
        wave = np.sin(xs * rng.uniform(3, 8) + rng.uniform(0, 6)) + np.sin(
            xs * 11 + rng.uniform(0, 6)
        )
        ridge = horizon - height * rng.uniform(0.02, 0.1) * (1 + 0.5 * wave)
        corners = [*zip(xs * width, ridge, strict=True), (width, horizon + 1), (0, horizon + 1)]
        s.add(blend(biome.haze, shade(biome.far, 0.8), tone), polygon(*corners))
    s.add(biome.far, _block(0, horizon - 1, width, 3))
    for _ in range(rng.integers(0, 6)):
        size, foot = rng.uniform(0.12, 0.4) * height, horizon + rng.uniform(0, 0.05) * height
        tree = _tree(rng, biome).moved(np.diag((size, -size)), (rng.uniform(0, width), foot))
        s.strokes += tree.strokes
    for depth in np.sort(rng.uniform(0.03, 1, 34)) ** 1.4:  # Larger towards the viewer.
        x, y = rng.uniform(0, width), horizon + depth * (height - horizon)
        r = (0.3 + depth) * height * 0.022
        colour = shade(blend(biome.far, biome.near, depth), rng.choice((0.86, 0.92, 1.08)))
        if biome.trees in ("round", "flat"):
            tips = [(x + k * r, y - 1.6 * r) for k in (-0.9, 0, 0.9)]
            s.add(colour, *[polygon((x - 0.3 * r, y), tip, (x + 0.3 * r, y)) for tip in tips])
        else:
            s.add(colour, ellipse(x, y, 1.8 * r, 0.5 * r))
    s.paint(canvas)
    return canvas, horizon


def _room(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, int]:
    wall = shade(_WALLS[rng.integers(len(_WALLS))], rng.uniform(0.85, 1.08))
    floor = shade(_FLOORS[rng.integers(len(_FLOORS))], rng.uniform(0.85, 1.1))
    horizon = int(height * rng.uniform(0.5, 0.66))
    colours = (shade(wall, 1.05), shade(wall, 0.94), shade(floor, 0.9), shade(floor, 1.08))
    canvas = _backdrop((width, height), horizon, *colours)
    s = Sketch()
    for x in np.arange(-1.5, 2.6, 0.16) * width:  # Joints between planks, towards a far point.
        s.add(
            shade(floor, 0.86),
            polygon((x, height), (x + 3, height), (x / 2 + width / 4, horizon)),
        )
    s.add(_TRIM, _block(0, horizon - 0.035 * height, width, 0.035 * height))
    x, y = rng.uniform(0, 0.7) * width, rng.uniform(0.02, 0.1) * height
    w, h = 0.26 * width, 0.32 * height
    if rng.random() < 0.6:  # A window, or else a picture.
        s.add(_TRIM, _block(x, y, w, h))
        panes = [
            (x + w * a, y + h * b, w * 0.42, h * 0.42) for a in (0.06, 0.52) for b in (0.06, 0.52)
        ]
        s.add((168, 212, 238), *[_block(*pane) for pane in panes])
    else:
        s.add((92, 70, 58), _block(x, y, w * 0.7, h * 0.8))
        s.add(shade(wall, 1.1), _block(x + w * 0.05, y + w * 0.05, w * 0.6, h * 0.8 - w * 0.1))
        s.add(
            shade((214, 120, 96), rng.uniform(0.6, 1.2)),
            ellipse(x + w * 0.35, y + h * 0.4, w * 0.14, w * 0.14),
        )
    if rng.random() < 0.5:  # A plant in a pot.
        x, r = rng.uniform(0.05, 0.95) * width, 0.09 * height
        leaves = [
            ellipse(x + r * k, horizon - 1.9 * r, 0.35 * r, 1.3 * r, -35 * k)
            for k in (-0.9, 0, 0.9)
        ]
        s.add((78, 140, 90), *leaves)
        pot = polygon((-0.7, -1), (0.7, -1), (0.5, 0.4), (-0.5, 0.4))
        s.add((198, 108, 78), pot * r + (x, horizon))
    if rng.random() < 0.6:  # A rug.
        colour, x, y = shade((186, 96, 88), rng.uniform(0.7, 1.2)), rng.uniform(0.3, 0.7), 0.88
        for factor, size in ((1, 0.4), (1.18, 0.33)):
            rug = ellipse(x * width, y * height, size * width, 0.3 * size * height)
            s.add(shade(colour, factor), rug)
    s.paint(canvas)
    return canvas, horizon


def draw_scenery(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, int]:
    """Returns an RGB background and the row of its horizon, below which there is ground."""
    return (_room if rng.random() < _ROOM_SHARE else _landscape)(rng, width, height)


def draw_branch(rng: np.random.Generator, canvas: Image.Image, y: float) -> None:
    """Paints a leafy branch across the canvas, for a bird whose feet are at row y."""
    width, height = canvas.size
    s, thick = Sketch(), 0.045 * height
    root, middle, tip = (
        (-thick, y + 0.7 * thick),
        (width / 2, y - 0.1 * thick),
        (width, y + 0.8 * thick),
    )
    s.add(shade((128, 92, 66), rng.uniform(0.75, 1.1)), limb(root, middle, tip, 1.4 * thick, thick))
    for x in rng.uniform(0, width, 7):
        side = rng.choice((-1, 1))
        leaf = blob((0, 0), (1, 0.5), (2, 2), (0.6, 1.4)) * (thick, thick * side)
        green = shade((104, 156, 84), rng.uniform(0.8, 1.15))
        s.add(green, np.add(leaf, (x, y + thick * (0.5 + 0.5 * side))))
    s.paint(canvas)


def draw_shadow(canvas: Image.Image, x: float, y: float, width: float) -> None:
    """Paints the shadow of an animal of this width, in pixels, that stands at (x, y)."""
    wash(canvas, _NIGHT, ellipse(x, y, 0.46 * width, 0.055 * width), opacity=0.22)
