"""Metrics, the honest figures: every example of a split counts exactly once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats
import sklearn.metrics

_CALIBRATION_BINS = 15


def compute_metrics(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Returns the figures of `metrics.json`.

    Args:
        labels: int [num_examples].
        probabilities: float [num_examples, num_classes]; rows add up to 1.
        classes: Names, in the order of the columns.
    """
    every_label = np.arange(len(classes))
    predicted = probabilities.argmax(axis=1)
    correct = predicted == labels
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, labels=every_label, zero_division=0.0
    )
    interval = scipy.stats.binomtest(int(correct.sum()), len(labels)).proportion_ci(method="wilson")
    return {
        "accuracy": float(correct.mean()),
        "top_5_accuracy": top_k_accuracy(labels, probabilities, 5),
        "loss": cross_entropy(labels, probabilities),
        "num_examples": len(labels),
        "per_class": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(classes)
        },
        "confusion_matrix": sklearn.metrics.confusion_matrix(
            labels, predicted, labels=every_label
        ).tolist(),
        "accuracy_ci95": [float(interval.low), float(interval.high)],
        "expected_calibration_error": expected_calibration_error(labels, probabilities),
    }


def cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean categorical cross-entropy in nats, clipped as Keras clips it."""
    true_probabilities = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(true_probabilities, 1e-7, 1.0)).mean())


def top_k_accuracy(labels: np.ndarray, probabilities: np.ndarray, k: int) -> float:
    """Share of examples whose class is among the k most probable."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins of confidence, in [0, 1].

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    gaps = [abs((confidence - correct)[bins == b].sum()) for b in range(_CALIBRATION_BINS)]
    return float(sum(gaps) / len(labels))
