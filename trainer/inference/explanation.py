"""Where on a photograph the model saw what speaks for a class."""

import dataclasses

import keras
import numpy as np

from trainer.data.view import View
from trainer.inference import overlay
from trainer.inference.gradcam import HeatMaps, Method


@dataclasses.dataclass(frozen=True, eq=False)  # Arrays do not compare to one truth value.
class Explanation:
    """A photograph, a class and its heat map.

    Attributes:
        photograph: RGB uint8 [height, width, 3], its sides 2048 at most.
        heat_map: Of the square that the model saw, float32 [rows, columns] in [0, 1]; its hottest
            place is 1, and all are 0 where nothing speaks for the class.
        label: Index of the class.
        probability: What the model says of it.
        view: How the photograph became the square.
    """

    photograph: np.ndarray
    heat_map: np.ndarray
    label: int
    probability: float
    view: View

    def overlay(self) -> np.ndarray:
        """Returns the photograph with the heat over it, RGB uint8 [height, width, 3]."""
        heat = overlay.place(self.heat_map, self.view, *self.photograph.shape[:2])
        return overlay.lay_over(self.photograph, heat)


def explain_squares(
    model: keras.Model, squares: np.ndarray, labels: np.ndarray, method: Method | None = None
) -> np.ndarray:
    """Returns what the model saw with the heat of a class over it, RGB uint8 [n, size, size, 3].

    Args:
        model: A run's, as it is saved.
        squares: RGB uint8 [n, size, size, 3].
        labels: Index of the class that each is explained for, [n].
        method: How the heat maps are made; None: by the suited method.

    Raises:
        ValueError: if there is no such method, or none for this model.
    """
    maps = HeatMaps(model, method).of(squares, labels)
    laid = np.empty_like(squares)
    for out, square, heat_map in zip(laid, squares, maps, strict=True):
        out[:] = overlay.lay_over(square, overlay.enlarge(heat_map, *square.shape[:2]))
    return laid
