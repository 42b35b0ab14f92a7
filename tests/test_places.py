"""Places of a feature map: their labels, and the head that is fitted to them."""

import numpy as np
import pytest

from trainer.data.view import View
from trainer.features.places import label_places

ALL = np.array([0.0, 0.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("boxes", "whole", "expected"),
    [
        ([], ALL, ["9999"] * 4),
        ([[0.0, 0.0, 0.5, 0.5]], ALL, ["0099", "0099", "9999", "9999"]),
        ([[0.7, 0.45, 0.74, 0.5]], ALL, ["9999", "9999", "9099", "9999"]),  # Between all middles.
        ([[0.0, 1.1, 1.0, 1.3], [-0.2, 0.0, -0.1, 1.0]], ALL, ["9999"] * 4),
        ([[0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 1.0, 1.0]], ALL, ["0011"] * 4),
        (
            [[0.25, 0.0, 0.5, 1.0]],
            np.array([0.25, 0.0, 0.75, 1.0]),
            ["----", "0000", "9999", "----"],
        ),
    ],
    ids=["none", "one", "small", "outside", "one above another", "padded"],
)
def test_place_has_the_label_of_the_box_that_it_lies_in(boxes, whole, expected) -> None:
    labels = list(range(len(boxes)))
    places = label_places((4, 4), np.array(boxes).reshape(-1, 4), labels, whole, background=9)
    assert ["".join("-" if p < 0 else str(p) for p in row) for row in places] == expected


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_box_stands_where_the_square_shows_it(fit: str, mirrored: bool) -> None:
    """A bright rectangle in a dark photograph of 120 by 200 pixels."""
    import tensorflow as tf

    photograph = np.zeros((120, 200, 3), np.uint8)
    photograph[40:80, 70:110] = 255
    view = View(96, fit=fit)
    square = view.square(tf.io.encode_jpeg(photograph, quality=100)).numpy()
    square = square[:, ::-1] if mirrored else square
    box = np.array([[40 / 120, 70 / 200, 80 / 120, 110 / 200]])
    [found] = view.in_square(box, (120, 200), mirrored) * 96
    bright = np.argwhere(square.min(axis=2) > 160)
    shown = np.array([*bright.min(axis=0), *(bright.max(axis=0) + 1)])
    np.testing.assert_allclose(found, shown, atol=1.5)
