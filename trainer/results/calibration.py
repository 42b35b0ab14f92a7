"""Calibration: whether probabilities are what they say, and the temperature that makes them so."""

from typing import Any

import numpy as np
import scipy.optimize

from trainer.model.temperature import SMALLEST

_BINS = 15
_COARSE_BINS = 10  # Of the diagram, each with enough photographs to say something.
_RANGE = (0.05, 20.0)  # Of temperatures.
_PRECISIONS = (0.9, 0.95, 0.99)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the temperature under which the labels are most likely.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017. A weak prior, by which its
    logarithm is normally distributed about 0, keeps it from 0 where no example is mistaken: there
    the likelihood alone would call every answer certain.

    Args:
        labels: int [num_examples], of examples that the model was not trained on.
        probabilities: float [num_examples, num_classes]; rows add up to 1.
    """
    logs = _logarithms(probabilities)
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        true = scaled[rows, labels] - np.logaddexp.reduce(scaled, axis=1)
        return float(-true.sum() + log_temperature**2 / 2)

    found = scipy.optimize.minimize_scalar(
        loss, bounds=np.log(_RANGE), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Returns probabilities at a temperature, as the saved model computes them, of the same dtype.

    Above 1 they are less sure, below 1 surer; which class is most probable stays.
    """
    scaled = _logarithms(probabilities) / temperature
    scaled -= np.logaddexp.reduce(scaled, axis=1, keepdims=True)
    return np.exp(scaled).astype(probabilities.dtype)


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins of confidence, in [0, 1].

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    confidence, correct = _answers(labels, probabilities)
    bins = _bins(confidence, _BINS)
    gaps = [abs((confidence - correct)[bins == b].sum()) for b in range(_BINS)]
    return float(sum(gaps) / len(labels))


def brier_score(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared distance of the probabilities from the truth, summed over classes, in [0, 2].

    Brier, Verification of Forecasts Expressed in Terms of Probability, 1950.
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> list[dict[str, float]]:
    """Returns the bins of the reliability diagram: `confidence`, `accuracy` and `count` of each.

    They are tenths of the confidence; empty ones are left out.
    """
    confidence, correct = _answers(labels, probabilities)
    bins = _bins(confidence, _COARSE_BINS)
    return [
        {
            "confidence": float(confidence[bins == number].mean()),
            "accuracy": float(correct[bins == number].mean()),
            "count": int((bins == number).sum()),
        }
        for number in np.unique(bins)
    ]


def thresholds(labels: np.ndarray, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """Returns from which probability on answers are right to a stated share.

    Each has `precision`, the stated share; `threshold`, the lowest probability such that so large a
    share of the answers as sure as that, or surer, are right; `coverage`, the share of the
    photographs that get such an answer. Where there is none, `threshold` is None; so it is where
    the answers are too few to show such a share, as fewer than 20 are for 95 %.
    """
    confidence, correct = _answers(labels, probabilities)
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    right = np.cumsum(correct[order]) / np.arange(1, len(labels) + 1)
    is_last = np.append(ordered[1:] < ordered[:-1], True)  # Of several as sure, all are taken.
    return [_threshold(precision, ordered, right, is_last) for precision in _PRECISIONS]


def _threshold(
    precision: float, confidence: np.ndarray, right: np.ndarray, is_last: np.ndarray
) -> dict[str, Any]:
    shows = np.arange(1, len(right) + 1) >= 1 / (1 - precision) - 1e-9
    places = np.flatnonzero((right >= precision) & is_last & shows)
    if not len(places):
        return {"precision": precision, "threshold": None, "coverage": 0.0}
    place = int(places[-1])
    return {
        "precision": precision,
        "threshold": float(confidence[place]),
        "coverage": (place + 1) / len(confidence),
    }


def _answers(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How sure each answer is, and whether it is right."""
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def _bins(confidence: np.ndarray, count: int) -> np.ndarray:
    return np.minimum((confidence * count).astype(int), count - 1)
