"""Figures of predictions that several models made, each on photographs that it has not seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from trainer.results import calibration, metrics
from trainer.results.bootstrap import interval, resamples
from trainer.results.predictions_file import Rows


def short_figures(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Returns `num_examples`, `accuracy`, `macro_f1` and `loss`."""
    counts = metrics.count(labels, probabilities.argmax(axis=1), len(classes))
    return {
        "num_examples": len(labels),
        "accuracy": float(counts.accuracy()),
        "macro_f1": macro_f1(counts),
        "loss": metrics.cross_entropy(labels, probabilities),
    }


def calibrate(
    labels: np.ndarray, probabilities: np.ndarray, dealt: Sequence[np.ndarray]
) -> np.ndarray:
    """Returns probabilities at temperatures: each fold's is fitted to the other folds.

    Args:
        labels: int [num_examples].
        probabilities: float [num_repeats, num_examples, num_classes].
        dealt: For each repeat the fold of each example, int [num_examples].
    """
    calibrated = np.empty_like(probabilities)
    for repeat, folds in enumerate(dealt):
        for fold in np.unique(folds):
            own, others = folds == fold, folds != fold
            temperature = calibration.fit_temperature(labels[others], probabilities[repeat, others])
            calibrated[repeat, own] = calibration.tempered(probabilities[repeat, own], temperature)
    return calibrated


def compare_rows(here: Rows, there: Rows, photographs: np.ndarray) -> dict[str, Any]:
    """As `compare`, of predictions on the same examples in any order; with the other's accuracy."""
    of_here, of_there = _order(here), _order(there)
    labels, predicted = here.labels[of_here], here.probabilities.argmax(axis=1)[of_here]
    others = there.probabilities.argmax(axis=1)[of_there]
    return {
        "accuracy": float((others == labels).mean()),
        "macro_f1": macro_f1(metrics.count(labels, others, here.probabilities.shape[1])),
        **compare(labels, predicted, others, photographs[of_here]),
    }


def _order(rows: Rows) -> list[int]:
    """The places of the rows, ordered by what an example is known by."""
    known = [*zip(rows.ids, rows.files, rows.labels.tolist(), strict=True)]
    return sorted(range(len(known)), key=known.__getitem__)


def compare(
    labels: np.ndarray, predicted: np.ndarray, others: np.ndarray, photographs: np.ndarray
) -> dict[str, Any]:
    """Returns how one recipe's predictions compare with another's on the same examples.

    Whether the difference may be chance is told by McNemar's test, exact (Dietterich, Approximate
    Statistical Tests for Comparing Supervised Classification Learning Algorithms, 1998), and how
    large it may be by a bootstrap of both together.

    Args:
        labels: int [num_examples].
        predicted: This recipe's classes, int [num_examples].
        others: The other's.
        photographs: Equal numbers are of the same photograph, int [num_examples].
    """
    here, there = predicted == labels, others == labels
    only_here, only_there = int((here & ~there).sum()), int((there & ~here).sum())
    gain = here.astype(np.int64) - there
    drawn = [float((weights * gain).sum() / weights.sum()) for weights in resamples(photographs)]
    differ = only_here + only_there
    return {
        "accuracy_difference": float(gain.mean()),
        "accuracy_difference_ci95": interval(drawn),
        "right_only_here": only_here,
        "right_only_there": only_there,
        "mcnemar_p": float(scipy.stats.binomtest(only_here, differ).pvalue) if differ else 1.0,
    }


def macro_f1(counts: metrics.Counts) -> float:
    """The mean F1 of the classes; those that nowhere occur do not count."""
    return float(counts.average(counts.measures()["f1"], "macro"))


def in_words(figures: Mapping[str, Any]) -> str:
    """Returns what the figures say, for a person."""
    low, high = figures["accuracy_bootstrap_ci95"]
    f1_low, f1_high = figures["macro_f1_ci95"]
    folds, repeats = figures["num_folds"], figures["num_repeats"]
    one = np.mean([row["accuracy"] for row in figures["repeats"]])
    times = f", {repeats} times, averaged; one time alone {one:.1%}" if repeats > 1 else ""
    return (
        f"Accuracy {figures['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}), macro F1 "
        f"{figures['macro_f1']:.3f} ({f1_low:.3f} to {f1_high:.3f}), loss {figures['loss']:.4f}, "
        f"on {figures['num_examples']} photographs, each judged by a model that has not seen it "
        f"({folds} folds{times}).{_calibration(figures)}"
    )


def _calibration(figures: Mapping[str, Any]) -> str:
    """What the temperatures did."""
    if not figures["uncalibrated"]:
        return ""
    before = figures["uncalibrated"]["expected_calibration_error"]
    return (
        f" Calibration error {figures['expected_calibration_error']:.3f}, {before:.3f} before each "
        "fold was calibrated on the others."
    )


def difference_in_words(comparison: Mapping[str, Any]) -> str:
    """Returns what a comparison says, for a person."""
    low, high = (100 * end for end in comparison["accuracy_difference_ci95"])
    return (
        f"Against {comparison['workdir']}, {comparison['accuracy']:.1%}: "
        f"{100 * comparison['accuracy_difference']:+.1f} points (95 % interval {low:+.1f} to "
        f"{high:+.1f}); {comparison['right_only_here']} are right here alone, "
        f"{comparison['right_only_there']} there alone (McNemar: p {_as_p(comparison)})."
    )


def _as_p(comparison: Mapping[str, Any]) -> str:
    p = comparison["mcnemar_p"]
    return f"= {p:.3f}" if p >= 0.001 else "< 0.001"
