"""How answers are written, one after the other: as text, JSON or CSV."""

import csv
import io
import json
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from trainer.inference import answers


class Answer(NamedTuple):
    """What is said of one photograph.

    Attributes:
        name: The photograph's.
        probabilities: float [num_classes]; they add up to 1.
        rejected: Whether no class is probable enough; None: that was not asked.
    """

    name: str
    probabilities: np.ndarray
    rejected: bool | None = None


def top(probabilities: np.ndarray, k: int) -> list[tuple[int, float]]:
    """Returns (class index, probability) of the k most probable classes, best first."""
    order = np.argsort(-probabilities, kind="stable")[:k]
    return [(int(i), float(probabilities[i])) for i in order]


class Format(Protocol):
    """How answers are written one after the other."""

    def write(self, answer: Answer) -> str:
        """Returns the next answer's text."""

    def end(self) -> str:
        """Returns what stands behind the last of them."""


class Text:
    """For a person: the name of each photograph, then a line a class."""

    def __init__(self, classes: Sequence[str], top_k: int) -> None:
        self._classes, self._top_k = classes, top_k

    def write(self, answer: Answer) -> str:
        """Returns a photograph's lines."""
        lines = [
            f"Probability {p:.2%} of [{self._classes[i]}]"
            for i, p in top(answer.probabilities, self._top_k)
        ]
        if answer.rejected:
            lines = [f"None of these (most probable: {lines[0]})"]
        return "\n".join([answer.name, *lines, ""])

    def end(self) -> str:
        """Returns nothing."""
        return ""


class Json:
    """For programs: a list with an object a photograph."""

    def __init__(self, classes: Sequence[str], top_k: int) -> None:
        self._classes, self._top_k = classes, top_k
        self._before = "[\n"

    def write(self, answer: Answer) -> str:
        """Returns a photograph's object, as `json.dumps` of the whole list has it."""
        before, self._before = self._before, ",\n"
        ranked = top(answer.probabilities, self._top_k)
        entry = answers.answer(answer.name, ranked, self._classes, answer.rejected)
        return before + json.dumps([entry], indent=2).removeprefix("[\n").removesuffix("\n]")

    def end(self) -> str:
        """Returns the end of the list."""
        return "[]\n" if self._before == "[\n" else "\n]\n"


class Csv:
    """For tables: a row a photograph, with a column a class (RFC 4180)."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._before = _row(["image", "predicted", "probability", *classes])

    def write(self, answer: Answer) -> str:
        """Returns a photograph's row; nine digits give a float32 back, bit for bit."""
        [(best, _)] = top(answer.probabilities, 1)
        predicted = answers.NONE if answer.rejected else self._classes[best]
        digits = [f"{probability:.9g}" for probability in answer.probabilities]
        before, self._before = self._before, ""
        return before + _row([answer.name, predicted, digits[best], *digits])

    def end(self) -> str:
        """Returns the header of a table without a row."""
        return self._before


def _row(cells: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue()
