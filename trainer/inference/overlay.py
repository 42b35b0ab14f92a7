"""A heat map laid over the photograph that it explains."""

import cv2
import matplotlib
import numpy as np

from trainer.data.view import View

_COLOURS = "inferno"  # It brightens steadily, for every kind of colour vision and in print.
_STRONGEST = 0.7  # The photograph stays to be seen under the hottest place.
_DIMMED = 0.6
LONGEST_SIDE = 2048


def lay_over(photograph: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Returns a photograph with heat over it, RGB uint8 [height, width, 3].

    The photograph is grey and dim, so that a hot place is seen on a bright yellow thing too.

    Args:
        photograph: RGB uint8 [height, width, 3].
        heat: float32 [height, width] in [0, 1].
    """
    colours = matplotlib.colormaps[_COLOURS](0.25 + 0.7 * heat)[..., :3] * 255
    share = _STRONGEST * heat[..., None]
    grey = _DIMMED * cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)[..., None]
    return np.rint(grey * (1 - share) + colours * share).astype(np.uint8)


def enlarge(heat_map: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns a coarse heat map as smooth heat of a size, float32 [height, width] in [0, 1]."""
    return cv2.resize(heat_map, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def place(heat_map: np.ndarray, view: View, height: int, width: int) -> np.ndarray:
    """Returns the heat of a square where that is on the photograph, float32 [height, width].

    It is in [0, 1], and 0 where the model has seen nothing.

    Args:
        heat_map: Of the square, float32 [rows, columns] in [0, 1].
        view: How the photograph became the square.
        height: The photograph's.
        width: The photograph's.
    """
    shape = np.array([height, width])
    [whole] = view.in_square(np.array([[0.0, 0.0, 1.0, 1.0]]), (height, width))
    scale = shape / (whole[2:] - whole[:2])  # Sides of the square, in the photograph's pixels.
    sides = np.maximum(np.rint(scale), 1).astype(int)
    first = np.rint(-whole[:2] * scale).astype(int)  # Above 0 where it was cut out of the middle.
    start, end = np.maximum(first, 0), np.minimum(first + sides, shape)
    heat = enlarge(heat_map, *sides)
    placed = np.zeros(shape, np.float32)
    seen = tuple(map(slice, start, end))
    placed[seen] = heat[tuple(map(slice, start - first, end - first))]
    return placed


def bounded(photograph: np.ndarray) -> np.ndarray:
    """Returns a photograph as large as a picture of it needs to be."""
    share = LONGEST_SIDE / max(photograph.shape)
    if share >= 1:
        return photograph
    height, width = (max(1, round(side * share)) for side in photograph.shape[:2])
    return cv2.resize(photograph, (width, height), interpolation=cv2.INTER_AREA)
