"""Which photographs a report shows: the worst mistakes, the least sure hits, labels in doubt."""

from typing import NamedTuple

import numpy as np

from trainer.results import label_issues
from trainer.results.label_issues import LabelIssue

_MOST_DOUBTED = 20


class Selection(NamedTuple):
    """Numbers of examples.

    Attributes:
        mistakes: Taken for another class, the surest first.
        unsure: Right, the least sure first.
        others: Right too, spread over all the others, in their order.
        doubted: Those that are confidently of another class than their label, the most doubtful
            first.
    """

    mistakes: list[int]
    unsure: list[int]
    others: list[int]
    doubted: list[LabelIssue]

    @property
    def numbers(self) -> set[int]:
        """Of every example that is shown."""
        return {*self.mistakes, *self.unsure, *self.others, *(each.number for each in self.doubted)}


def select(labels: np.ndarray, probabilities: np.ndarray, count: int) -> Selection:
    """Returns what to show.

    Mistakes are at most half of the photographs, unless too little was right, and the least sure
    hits a quarter.

    Args:
        labels: int [num_examples].
        probabilities: float [num_examples, num_classes].
        count: How many mistakes and hits together.
    """
    is_right, confidence = probabilities.argmax(axis=1) == labels, probabilities.max(axis=1)
    wrong, right = np.flatnonzero(~is_right), np.flatnonzero(is_right)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")]
    mistakes = surest[: max(count // 2, count - len(right))]
    least_sure = right[np.argsort(confidence[right], kind="stable")]
    unsure = least_sure[: count // 4]
    rest = np.setdiff1d(right, unsure)
    left = count - len(mistakes) - len(unsure)
    issues = label_issues.find(labels, probabilities)
    spread = np.linspace(0, len(rest) - 1, min(left, len(rest))).astype(int)
    return Selection(
        mistakes.tolist(),
        unsure.tolist(),
        rest[spread].tolist(),
        [issue for issue in issues if issue.is_confident][:_MOST_DOUBTED],
    )
