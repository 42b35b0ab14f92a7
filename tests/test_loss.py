import keras
import numpy as np
import pytest

from trainer.config import TrainConfig
from trainer.model.loss import WeighedCrossEntropy, balanced_weights, create_loss

LABELS = np.eye(3, dtype=np.float32)[[0, 0, 1]]
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3]], np.float32)


def test_example_counts_by_the_weight_of_its_class() -> None:
    found = float(WeighedCrossEntropy([1.0, 4.0, 0.0])(LABELS, PROBABILITIES))
    assert found == pytest.approx(-(np.log(0.7) + np.log(0.1) + 4 * np.log(0.4)) / 3, rel=1e-5)


def test_equal_weights_are_keras_own_loss_smoothed_or_not() -> None:
    for smoothing in (0.0, 0.1):
        keras_loss = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
        found = WeighedCrossEntropy([1.0] * 3, smoothing)(LABELS, PROBABILITIES)
        assert float(found) == pytest.approx(float(keras_loss(LABELS, PROBABILITIES)), rel=1e-6)


@pytest.mark.parametrize(
    ("counts", "weights"),
    [
        ([10, 10], [1.0, 1.0]),
        ([30, 10], [2 / 3, 2.0]),
        ([30, 10, 0], [2 / 3, 2.0, 0.0]),  # A class that is never met.
    ],
)
def test_balanced_classes_have_equal_shares_of_the_loss(counts, weights) -> None:
    assert balanced_weights(counts) == pytest.approx(weights)


def test_config_decides_the_loss() -> None:
    counts = {"cat": 2, "dog": 1, "bear": 0}
    required = {"data_dir": "d", "workdir": "w"}
    plain = create_loss(TrainConfig(**required), counts)
    assert float(plain(LABELS, PROBABILITIES)) == pytest.approx(
        -(np.log(0.7) + np.log(0.1) + np.log(0.4)) / 3, rel=1e-5
    )
    balanced = create_loss(TrainConfig(**required, class_weights="balanced"), counts)
    assert float(balanced(LABELS, PROBABILITIES)) == pytest.approx(
        -(0.75 * np.log(0.7) + 0.75 * np.log(0.1) + 1.5 * np.log(0.4)) / 3, rel=1e-5
    )
