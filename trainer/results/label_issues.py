"""Labels that look wrong, by confident learning."""

from typing import NamedTuple

import numpy as np


class LabelIssue(NamedTuple):
    """An example whose label a model that has not seen it doubts.

    Attributes:
        number: Which example.
        label: Its class, by its label.
        suggested: The class that the model finds.
    """

    number: int
    label: int
    suggested: int


def find(labels: np.ndarray, probabilities: np.ndarray) -> list[LabelIssue]:
    """Returns the examples whose labels look wrong, the most doubtful first.

    Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR
    2021: an example is confidently of a class if its probability is at least the mean probability
    that the class has among the examples of its label. One that is confidently of another class
    than its label, and of none more, is doubted; the order is that of the margin between label and
    the most probable other class.

    Args:
        labels: int [num_examples].
        probabilities: float [num_examples, num_classes], of models that were not trained on the
            example.
    """
    num_classes = probabilities.shape[1]
    occurring = np.unique(labels)
    means = np.full(num_classes, np.inf)  # Of a class without examples nothing is confident.
    for label in occurring:
        means[label] = probabilities[labels == label, label].mean()
    confident = np.where(probabilities >= means, probabilities, -np.inf)
    suggested = confident.argmax(axis=1)
    is_confident = np.isfinite(confident.max(axis=1))
    doubted = np.flatnonzero(is_confident & (suggested != labels))
    of_label = probabilities[doubted, labels[doubted]]
    others = probabilities[doubted].copy()
    others[np.arange(len(doubted)), labels[doubted]] = -np.inf
    order = np.argsort(of_label - others.max(axis=1, initial=-np.inf), kind="stable")
    return [
        LabelIssue(int(number), int(labels[number]), int(suggested[number]))
        for number in doubted[order]
    ]
