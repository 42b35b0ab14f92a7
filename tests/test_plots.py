import numpy as np
import pytest
from PIL import Image

from trainer import plots
from trainer.predictions import Prediction


def prediction(name: str, height: int = 30, width: int = 40) -> Prediction:
    return Prediction(name, np.full((height, width, 3), 90, np.uint8), np.array([0.2, 0.7, 0.1]))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_picture_grows_with_the_number_of_photographs(count, tmp_path) -> None:
    shapes = [(30, 40), (80, 20), (5, 60)]  # Landscape, portrait, panorama.
    predictions = [prediction(f"{i}.jpg", *shapes[i % 3]) for i in range(count)]
    plots.draw_predictions(predictions, ["bear", "cat", "dog"], tmp_path / "plot.png", top_k=5)
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"
        assert image.width > 400 * min(count, 3)
        assert image.height > 300 * -(-count // 3)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a/b/cat.jpg", "cat.jpg"), ("x" * 30 + "y" * 30, "x" * 16 + "…" + "y" * 17)],
)
def test_long_name_keeps_both_ends(name, shown) -> None:
    assert plots.shorten(name) == shown


def test_best_come_first_and_ties_keep_the_order_of_the_classes() -> None:
    tied = Prediction("x", np.zeros((1, 1, 3), np.uint8), np.array([0.25, 0.5, 0.25]))
    assert tied.top(3) == [(1, 0.5), (0, 0.25), (2, 0.25)]
    assert tied.top(9) == tied.top(3)
