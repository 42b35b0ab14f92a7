"""Figures of predictions that several models made, each on photographs that it has not seen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from trainer.results import metrics
from trainer.results.predictions_file import Rows

_RESAMPLES = 2000  # The ends of a 95 % interval then vary by a tenth of its width.
_SEED = 0


def figures_of(
    labels: np.ndarray, probabilities: np.ndarray, photographs: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Returns the figures of metrics.json, with macro F1 and intervals by the bootstrap.

    The bootstrap draws photographs, with all the examples that are of them (Efron and Tibshirani,
    An Introduction to the Bootstrap, 1993, percentile intervals); its draws are the same each time.

    Args:
        labels: int [num_examples].
        probabilities: float [num_examples, num_classes].
        photographs: Equal numbers are of the same photograph, int [num_examples].
        classes: Names, in the order of the columns.
    """
    predicted = probabilities.argmax(axis=1)
    drawn = [
        confusion(labels, predicted, len(classes), weights) for weights in resamples(photographs)
    ]
    return {
        **metrics.compute_metrics(labels, probabilities, classes),
        "macro_f1": macro_f1(confusion(labels, predicted, len(classes))),
        "macro_f1_ci95": _interval([macro_f1(matrix) for matrix in drawn]),
        "accuracy_bootstrap_ci95": _interval([_accuracy(matrix) for matrix in drawn]),
    }


def short_figures(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Returns `num_examples`, `accuracy`, `macro_f1` and `loss`."""
    matrix = confusion(labels, probabilities.argmax(axis=1), len(classes))
    return {
        "num_examples": len(labels),
        "accuracy": _accuracy(matrix),
        "macro_f1": macro_f1(matrix),
        "loss": metrics.cross_entropy(labels, probabilities),
    }


def worst_mistakes(labels: np.ndarray, probabilities: np.ndarray, count: int) -> list[int]:
    """Returns which examples were taken for another class: at most so many, the surest first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    surest = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return wrong[surest][:count].tolist()


def compare_rows(here: Rows, there: Rows, photographs: np.ndarray) -> dict[str, Any]:
    """As `compare`, of predictions on the same examples in any order; with the other's accuracy."""
    of_here, of_there = _order(here), _order(there)
    labels, predicted = here.labels[of_here], here.probabilities.argmax(axis=1)[of_here]
    others = there.probabilities.argmax(axis=1)[of_there]
    return {
        "accuracy": float((others == labels).mean()),
        "macro_f1": macro_f1(confusion(labels, others, here.probabilities.shape[1])),
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
        photographs: As in `figures_of`.
    """
    here, there = predicted == labels, others == labels
    only_here, only_there = int((here & ~there).sum()), int((there & ~here).sum())
    gain = here.astype(np.int64) - there
    drawn = [float((weights * gain).sum() / weights.sum()) for weights in resamples(photographs)]
    differ = only_here + only_there
    return {
        "accuracy_difference": float(gain.mean()),
        "accuracy_difference_ci95": _interval(drawn),
        "right_only_here": only_here,
        "right_only_there": only_there,
        "mcnemar_p": float(scipy.stats.binomtest(only_here, differ).pvalue) if differ else 1.0,
    }


def resamples(photographs: np.ndarray) -> Iterator[np.ndarray]:
    """Yields for each resample how often each example is drawn, int [num_examples]."""
    _, photograph = np.unique(photographs, return_inverse=True)
    count = int(photograph.max()) + 1
    draws = np.random.default_rng(_SEED)
    for _ in range(_RESAMPLES):
        yield np.bincount(draws.integers(count, size=count), minlength=count)[photograph]


def confusion(
    labels: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Returns how many examples of each class, a row, were taken for which, a column."""
    cells = np.bincount(labels * num_classes + predicted, weights, num_classes**2)
    return cells.reshape(num_classes, num_classes)


def macro_f1(matrix: np.ndarray) -> float:
    """The mean F1 of the classes of a confusion matrix; those that nowhere occur do not count."""
    occurs = matrix.sum(axis=0) + matrix.sum(axis=1)
    f1 = 2 * matrix.diagonal()[occurs > 0] / occurs[occurs > 0]
    return float(f1.mean())


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
        f"({folds} folds{times})."
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


def _accuracy(matrix: np.ndarray) -> float:
    return float(matrix.trace() / matrix.sum())


def _interval(drawn: Sequence[float]) -> list[float]:
    return np.quantile(drawn, [0.025, 0.975]).tolist()
