import keras
import numpy as np
import pytest

from trainer.results import metrics

CLASSES = ["a", "b", "c"]
LABELS = np.array([0, 0, 1, 1])  # No example of class c.
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])


def test_figures_by_hand() -> None:
    figures = metrics.compute_metrics(LABELS, PROBABILITIES, CLASSES)
    assert figures["accuracy"] == 0.5
    assert figures["num_examples"] == 4
    assert figures["confusion_matrix"] == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]  # Rows are the truth.
    assert figures["per_class"]["a"] == pytest.approx(
        {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 2}
    )
    assert figures["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    # Wilson's interval of 2 in 4: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
    assert figures["accuracy_ci95"] == pytest.approx([0.1500, 0.8500], abs=1e-4)
    assert figures["top_5_accuracy"] == 1.0  # Of three classes, any five hold the right one.


def test_loss_is_kerass() -> None:
    one_hot = np.eye(3)[LABELS]
    expected = float(np.mean(keras.losses.categorical_crossentropy(one_hot, PROBABILITIES)))
    assert metrics.cross_entropy(LABELS, PROBABILITIES) == pytest.approx(expected, rel=1e-6)
    certain = np.array([[0.0, 1.0, 0.0]])  # Certain and wrong: clipped, not infinite.
    assert np.isfinite(metrics.cross_entropy(np.array([0]), certain))


@pytest.mark.parametrize(
    ("confidence", "share_correct", "expected"),
    [(1.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.75, 0.75, 0.0), (0.9, 0.5, 0.4)],
)
def test_calibration_error_is_the_gap_to_the_truth(confidence, share_correct, expected) -> None:
    labels = np.zeros(100, int)
    right = np.arange(100) < 100 * share_correct
    probabilities = np.where(
        right[:, None], [confidence, 1 - confidence], [1 - confidence, confidence]
    )
    found = metrics.expected_calibration_error(labels, probabilities)
    assert found == pytest.approx(expected, abs=1e-9)


def test_top_k_counts_the_k_best() -> None:
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4]] * 4)
    labels = np.arange(4)
    assert [metrics.top_k_accuracy(labels, probabilities, k) for k in (1, 2, 3, 4)] == [
        0.25, 0.5, 0.75, 1.0,
    ]  # fmt: skip
