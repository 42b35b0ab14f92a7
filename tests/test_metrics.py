import keras
import numpy as np
import pytest
import sklearn.metrics

from trainer.results import metrics

CLASSES = ["a", "b", "c"]
LABELS = np.array([0, 0, 1, 1])  # No example of class c.
KEYS = ("precision", "recall", "f1", "support")
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])


def test_figures_by_hand() -> None:
    figures = metrics.compute_metrics(LABELS, PROBABILITIES, CLASSES)
    assert figures["accuracy"] == 0.5
    assert figures["num_examples"] == 4
    assert figures["confusion_matrix"] == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]  # Rows are the truth.
    row = figures["per_class"]["a"]
    assert [row[key] for key in KEYS] == pytest.approx([1.0, 0.5, 2 / 3, 2])
    assert row["f1_ci95"] == [0.0, 1.0]
    row = figures["per_class"]["c"]
    assert [row[key] for key in KEYS] == [0, 0, 0, 0]
    assert row["f1_ci95"] is None
    # Wilson's interval of 2 in 4: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
    assert figures["accuracy_ci95"] == pytest.approx([0.1500, 0.8500], abs=1e-4)
    assert figures["top_5_accuracy"] == 1.0  # Of three classes, any five hold the right one.


def test_loss_is_kerass() -> None:
    one_hot = np.eye(3)[LABELS]
    expected = float(np.mean(keras.losses.categorical_crossentropy(one_hot, PROBABILITIES)))
    assert metrics.cross_entropy(LABELS, PROBABILITIES) == pytest.approx(expected, rel=1e-6)
    certain = np.array([[0.0, 1.0, 0.0]])  # Certain and wrong: clipped, not infinite.
    assert np.isfinite(metrics.cross_entropy(np.array([0]), certain))


@pytest.mark.parametrize("num_classes", [2, 4])
def test_figures_are_scikit_learns(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(num_classes, size=60)
    probabilities = rng.dirichlet(np.ones(num_classes), size=60)
    figures = metrics.compute_metrics(labels, probabilities, [*map(str, range(num_classes))])
    predicted = probabilities.argmax(axis=1)
    assert figures["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
    assert figures["loss"] == pytest.approx(sklearn.metrics.log_loss(labels, probabilities))
    for how, average in figures["averages"].items():
        expected = sklearn.metrics.precision_recall_fscore_support(
            labels, predicted, average=how, zero_division=0.0
        )
        assert [average[key] for key in KEYS[:3]] == pytest.approx(expected[:3])
        for key in KEYS[:3]:
            low, high = average[f"{key}_ci95"]
            assert low < average[key] < high
    each = sklearn.metrics.precision_recall_fscore_support(labels, predicted, zero_division=0.0)
    found = [[row[key] for key in KEYS] for row in figures["per_class"].values()]
    np.testing.assert_allclose(np.transpose(found), each)
    truth = np.eye(num_classes)[labels]
    expected = sum(
        sklearn.metrics.brier_score_loss(truth[:, i], probabilities[:, i])
        for i in range(num_classes)
    )
    assert figures["brier_score"] == pytest.approx(expected)


def test_interval_is_wider_where_several_examples_are_of_one_photograph() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=90)
    right = np.repeat(rng.random(15) < 0.7, 6)  # Six crops of a photograph are right together.
    probabilities = np.eye(3)[np.where(right, labels, (labels + 1) % 3)]
    alone = metrics.compute_metrics(labels, probabilities, CLASSES)
    together = metrics.compute_metrics(labels, probabilities, CLASSES, np.repeat(np.arange(15), 6))

    def width(figures: dict, key: str) -> float:
        return figures[key][1] - figures[key][0]

    for key in ("accuracy_bootstrap_ci95", "macro_f1_ci95"):
        assert width(together, key) > 1.5 * width(alone, key)


def test_top_k_counts_the_k_best() -> None:
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4]] * 4)
    labels = np.arange(4)
    assert [metrics.top_k_accuracy(labels, probabilities, k) for k in (1, 2, 3, 4)] == [
        0.25, 0.5, 0.75, 1.0,
    ]  # fmt: skip
