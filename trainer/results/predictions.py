"""What the model says of one photograph."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from trainer.inference.formats import top


@dataclasses.dataclass(frozen=True, eq=False)  # Arrays do not compare to one truth value.
class Prediction:
    """A photograph and its probabilities.

    Attributes:
        name: The photograph's file name.
        image: RGB uint8 [height, width, 3] in [0, 255].
        probabilities: float [num_classes]; they add up to 1.
        label: Index of the true class, where it is known.
        heat: The same photograph, with what the model looked at, where that is known.
        is_rejected: Whether no class is probable enough.
    """

    name: str
    image: np.ndarray
    probabilities: np.ndarray
    label: int | None = None
    heat: np.ndarray | None = None
    is_rejected: bool = False

    def top(self, k: int) -> list[tuple[int, float]]:
        """Returns (class index, probability) of the k most probable classes, best first."""
        return top(self.probabilities, k)

    @property
    def predicted(self) -> int:
        """Index of the most probable class."""
        return int(self.probabilities.argmax())

    @property
    def is_wrong(self) -> bool:
        """Whether the true class is known and another one is more probable."""
        return self.label is not None and self.predicted != self.label


def mistakes_first(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Mistakes first, the most confident before the others; then the rest, in their order."""
    return sorted(predictions, key=lambda p: -float(p.probabilities.max()) if p.is_wrong else 1.0)


def in_words(prediction: Prediction, classes: Sequence[str]) -> str:
    """Returns `dog 99.75%`, and what it is where that is another class."""
    [(best, probability)] = prediction.top(1)
    said = f"{classes[best]} {probability:.2%}"
    if prediction.label is not None and prediction.is_wrong:
        return f"{said}, is {classes[prediction.label]}"
    return said
