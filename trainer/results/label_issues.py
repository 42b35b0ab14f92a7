"""Labels that look wrong, by confident learning."""

from typing import NamedTuple

import numpy as np


class LabelIssue(NamedTuple):
    """An example whose label a model that has not seen it doubts.

    Attributes:
        number: Which example.
        label: Its class, by its label.
        suggested: The class that the model finds most probable.
        is_confident: Whether the example is confidently of another class than its label.
    """

    number: int
    label: int
    suggested: int
    is_confident: bool


def find(labels: np.ndarray, probabilities: np.ndarray) -> list[LabelIssue]:
    """Returns the examples whose label is not the most probable class, the least probable first.

    An example is confidently of a class if its probability is at least the mean probability that
    the class has among the examples of its label. Order and criterion are those of Northcutt, Jiang
    and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 2021; of labels
    that were swapped, the probability of the label alone finds the most (docs/results.md).

    Args:
        labels: int [num_examples].
        probabilities: float [num_examples, num_classes], of models that were not trained on the
            example.
    """
    found = probabilities.argmax(axis=1)
    doubted = np.flatnonzero(found != labels)
    means = _mean_probabilities(labels, probabilities)
    of_label = probabilities[doubted, labels[doubted]]
    return [
        LabelIssue(
            number=int(number),
            label=int(labels[number]),
            suggested=int(found[number]),
            is_confident=bool(_is_confident(probabilities[number], labels[number], means)),
        )
        for number in doubted[np.argsort(of_label, kind="stable")]
    ]


def _mean_probabilities(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The mean probability of each class among the examples of its label, float [num_classes]."""
    means = np.full(probabilities.shape[1], np.inf)  # Of a class without any, none is confident.
    for label in np.unique(labels):
        means[label] = probabilities[labels == label, label].mean()
    return means


def _is_confident(row: np.ndarray, label: int, means: np.ndarray) -> bool:
    reached = np.where(row >= means, row, -np.inf)
    return bool(np.isfinite(reached.max()) and reached.argmax() != label)
