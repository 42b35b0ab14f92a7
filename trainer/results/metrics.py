"""Metrics, the honest figures: every example of a split counts exactly once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import sklearn.metrics

from trainer.results import calibration
from trainer.results.bootstrap import interval, resamples

_MEASURES = ("precision", "recall", "f1")


def compute_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    photographs: np.ndarray | None = None,
) -> dict[str, Any]:
    """Returns the figures of `metrics.json`.

    Args:
        labels: int [num_examples].
        probabilities: float [num_examples, num_classes]; rows add up to 1.
        classes: Names, in the order of the columns.
        photographs: Equal numbers are of the same photograph, int [num_examples]; None: each
            example is of another one.
    """
    predicted = probabilities.argmax(axis=1)
    correct = predicted == labels
    wilson = scipy.stats.binomtest(int(correct.sum()), len(labels)).proportion_ci(method="wilson")
    found = count(labels, predicted, len(classes))
    drawn = _draw(labels, predicted, len(classes), photographs)
    averages = {name: _average(name, found, drawn) for name in ("macro", "weighted")}
    return {
        "accuracy": float(correct.mean()),
        "top_5_accuracy": top_k_accuracy(labels, probabilities, 5),
        "loss": cross_entropy(labels, probabilities),
        "num_examples": len(labels),
        "per_class": _per_class(classes, found, drawn),
        "confusion_matrix": sklearn.metrics.confusion_matrix(
            labels, predicted, labels=np.arange(len(classes))
        ).tolist(),
        "accuracy_ci95": [float(wilson.low), float(wilson.high)],
        "accuracy_bootstrap_ci95": interval(drawn.accuracy()),
        "macro_f1": averages["macro"]["f1"],
        "macro_f1_ci95": averages["macro"]["f1_ci95"],
        "averages": averages,
        "brier_score": calibration.brier_score(labels, probabilities),
        "expected_calibration_error": calibration.expected_calibration_error(labels, probabilities),
        "reliability": calibration.reliability(labels, probabilities),
        "reject": calibration.thresholds(labels, probabilities),
        "temperature": None,  # Whoever calibrates sets it, and what was before.
        "uncalibrated": None,
    }


def calibration_figures(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Returns the figures that a temperature changes: `loss`, Brier score, calibration error."""
    return {
        "loss": cross_entropy(labels, probabilities),
        "brier_score": calibration.brier_score(labels, probabilities),
        "expected_calibration_error": calibration.expected_calibration_error(labels, probabilities),
        "reliability": calibration.reliability(labels, probabilities),
    }


class Counts(NamedTuple):
    """What precision and recall are made of, for each class, float [..., num_classes].

    Attributes:
        hits: Examples of the class that were taken for it.
        support: Examples of the class.
        taken: Examples that were taken for it.
    """

    hits: np.ndarray
    support: np.ndarray
    taken: np.ndarray

    def measures(self) -> dict[str, np.ndarray]:
        """`precision`, `recall` and `f1` of each class; 0 where nothing can be divided."""
        return {
            "precision": _divide(self.hits, self.taken),
            "recall": _divide(self.hits, self.support),
            "f1": _divide(2 * self.hits, self.support + self.taken),
        }

    def accuracy(self) -> np.ndarray:
        """The share of all examples that were taken for what they are, [...]."""
        return self.hits.sum(axis=-1) / self.support.sum(axis=-1)

    def average(self, values: np.ndarray, how: str) -> np.ndarray:
        """A measure's mean: `macro`, each class that occurs alike; `weighted`, by its examples."""
        weights = self.support if how == "weighted" else self.support + self.taken > 0
        return (values * weights).sum(axis=-1) / weights.sum(axis=-1)


def count(
    labels: np.ndarray, predicted: np.ndarray, num_classes: int, weights: np.ndarray | None = None
) -> Counts:
    """Returns the counts of each class; an example counts as often as it weighs."""
    weights = np.ones(len(labels)) if weights is None else weights
    right = labels == predicted
    return Counts(
        np.bincount(labels[right], weights[right], num_classes),
        np.bincount(labels, weights, num_classes),
        np.bincount(predicted, weights, num_classes),
    )


def _draw(
    labels: np.ndarray, predicted: np.ndarray, num_classes: int, photographs: np.ndarray | None
) -> Counts:
    """The counts of each resample, float [num_resamples, num_classes]."""
    of_which = np.arange(len(labels)) if photographs is None else photographs
    each = [count(labels, predicted, num_classes, weights) for weights in resamples(of_which)]
    return Counts(*map(np.stack, zip(*each, strict=True)))


def _per_class(classes: Sequence[str], found: Counts, drawn: Counts) -> dict[str, Any]:
    values, resampled = found.measures(), drawn.measures()
    rows: dict[str, Any] = {}
    for place, name in enumerate(classes):
        has_examples = found.support[place] > 0
        rows[name] = {
            **{measure: float(values[measure][place]) for measure in _MEASURES},
            "support": int(found.support[place]),
            **{
                f"{measure}_ci95": interval(resampled[measure][:, place]) if has_examples else None
                for measure in _MEASURES
            },
        }
    return rows


def _average(how: str, found: Counts, drawn: Counts) -> dict[str, Any]:
    values, resampled = found.measures(), drawn.measures()
    return {
        **{name: float(found.average(values[name], how)) for name in _MEASURES},
        **{
            f"{name}_ci95": interval(drawn.average(resampled[name], how)) for name in _MEASURES
        },
    }  # fmt: skip


def _divide(some: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.divide(some, by, out=np.zeros_like(some, dtype=np.float64), where=by > 0)


def cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean categorical cross-entropy in nats, clipped as Keras clips it."""
    true_probabilities = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(true_probabilities, 1e-7, 1.0)).mean())


def top_k_accuracy(labels: np.ndarray, probabilities: np.ndarray, k: int) -> float:
    """Share of examples whose class is among the k most probable."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())
