"""What an artefact says in its own runtime, compared with what the trained model says."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from trainer.data.split import Split
from trainer.exporting import photographs
from trainer.inference.classifier import Classifier

_TIMED = 10  # Answers, of which the median counts; fewer where they take long.
_TIMED_SECONDS = 5.0
# Two classes whose probabilities differ by less than float32 rounds are equally probable.
_TIE = 1e-6


class Opened(Protocol):
    """An artefact in its runtime."""

    def of_rgb(self, rgb: np.ndarray) -> np.ndarray:
        """Returns probabilities, float32 [n, num_classes], of float32 [n, size, size, 3]."""
        ...


@dataclasses.dataclass(frozen=True)
class Answers:
    """Probabilities of a split's photographs.

    Attributes:
        names: Of the photographs' files.
        labels: int64 [n].
        probabilities: float32 [n, num_classes].
        milliseconds: What one photograph takes by itself.
    """

    names: Sequence[str]
    labels: np.ndarray
    probabilities: np.ndarray
    milliseconds: float

    @property
    def accuracy(self) -> float:
        """Share of photographs whose label is the most probable class."""
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One line of the table.

    Attributes:
        format: Of the artefact, or the name of the model's file.
        bytes: That its files take.
        milliseconds: For one photograph.
        accuracy: In [0, 1].
        difference: The largest of a probability; None: it is what others are compared with.
        worst: The photograph where it is.
        changed: The photographs whose most probable class is another.
    """

    format: str
    bytes: int
    milliseconds: float
    accuracy: float
    difference: float | None = None
    worst: str = ""
    changed: tuple[str, ...] = ()


def answers(
    classifier: Classifier,
    split: Split,
    of_batch: Callable[[photographs.Batch, np.ndarray], np.ndarray],
    done: Callable[[int], object],
) -> Answers:
    """Has every photograph of a split answered, some at a time and one alone.

    Args:
        classifier: Makes the squares.
        split: Whose photographs.
        of_batch: Returns probabilities for photographs and their squares, uint8 [n, size, size, 3].
        done: Called with how many are done, batch by batch.
    """
    names: list[str] = []
    labels, probabilities, milliseconds = [], [], 0.0
    for batch in photographs.batches(split):
        squares = classifier.squares(batch.jpegs)
        if not names:
            one = dataclasses.replace(batch, jpegs=batch.jpegs[:1])
            milliseconds = _milliseconds(functools.partial(of_batch, one, squares[:1]))
        names += batch.names
        labels.append(batch.labels)
        probabilities.append(of_batch(batch, squares))
        done(len(batch.names))
    return Answers(names, np.concatenate(labels), np.concatenate(probabilities), milliseconds)


def _milliseconds(answer: Callable[[], object]) -> float:
    """The median time of an answer, after a first one that may set things up."""
    answer()
    times: list[float] = []
    while not times or (len(times) < _TIMED and sum(times) < _TIMED_SECONDS):
        start = time.perf_counter()
        answer()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def compare(format_name: str, num_bytes: int, found: Answers, expected: Answers) -> Comparison:
    """Returns how far an artefact's answers are from those that were expected.

    Args:
        format_name: Of the artefact.
        num_bytes: That it takes.
        found: Its answers.
        expected: The trained model's.
    """
    differences = np.abs(found.probabilities - expected.probabilities)
    differences = np.where(np.isnan(differences), np.inf, differences).max(axis=1)
    rows = np.arange(len(differences))
    best = expected.probabilities.max(axis=1)
    of_found = expected.probabilities[rows, found.probabilities.argmax(axis=1)]
    worst = int(differences.argmax())
    return Comparison(
        format=format_name,
        bytes=num_bytes,
        milliseconds=found.milliseconds,
        accuracy=found.accuracy,
        difference=float(differences[worst]),
        worst=expected.names[worst],
        changed=tuple(expected.names[int(row)] for row in np.flatnonzero(best - of_found > _TIE)),
    )


def check_same(comparison: Comparison, tolerance: float) -> None:
    """Refuses an artefact that does not answer as the trained model does.

    Raises:
        ValueError: if a probability is further away, or another class is the most probable.
    """
    difference = comparison.difference
    assert difference is not None
    if comparison.changed:
        raise ValueError(
            f"The {comparison.format} export says another class than the trained model. Received: "
            f"{len(comparison.changed)} photographs, {comparison.changed[0]} the first; the "
            f"largest difference of a probability is {difference:.2g}, on {comparison.worst}. "
            "Nothing is written."
        )
    if difference > tolerance:
        raise ValueError(
            f"The {comparison.format} export must be within --tolerance={tolerance:g} of the "
            f"trained model. Received: a probability that differs by {difference:.2g}, on "
            f"{comparison.worst}. Nothing is written."
        )


def check_accuracy(comparison: Comparison, expected: Answers, tolerance: float) -> None:
    """Refuses a quantized artefact that has lost more than so much accuracy.

    Raises:
        ValueError: if so.
    """
    lost = expected.accuracy - comparison.accuracy
    if not lost <= tolerance or comparison.difference == np.inf:
        raise ValueError(
            f"The quantized {comparison.format} export must keep its accuracy within "
            f"--tolerance={tolerance:g} of the trained model's. Received: {comparison.accuracy:.1%}"
            f", {expected.accuracy:.1%} before; the largest difference of a probability is "
            f"{comparison.difference:.2g}, on {comparison.worst}. Nothing is written."
        )


def table(comparisons: Sequence[Comparison]) -> str:
    """Returns the lines of a table for a person, one for each artefact."""
    rows = [("", "size", "ms an image", "accuracy", "largest difference", "another class")]
    for one in comparisons:
        reference = one.difference is None
        rows.append(
            (
                one.format,
                f"{one.bytes / 2**20:.1f} MiB",
                f"{one.milliseconds:.1f}",
                f"{one.accuracy:.1%}",
                "-" if reference else f"{one.difference:.1e}",
                "-" if reference else str(len(one.changed)),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
