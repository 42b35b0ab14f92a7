"""The file of predictions, `predictions.csv`: what a model says of each example."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrecords import files

_ORIGIN = ("id", "file", "label", "predicted")


class Rows(NamedTuple):
    """Some examples and what a model says of them.

    Attributes:
        ids: The source's id of each photograph.
        files: Its file name.
        labels: Its true class, int [num_examples].
        probabilities: float [num_examples, num_classes].
    """

    ids: Sequence[int]
    files: Sequence[str]
    labels: np.ndarray
    probabilities: np.ndarray


def write(path: Path, rows: Rows, classes: Sequence[str]) -> None:
    """Writes a row an example: id, file, label, predicted, a column a class."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_ORIGIN, *classes])
    for id, file, label, row in zip(*rows, strict=True):
        # Nine digits give a float32 back, bit for bit.
        digits = (f"{probability:.9g}" for probability in row)
        writer.writerow([id, file, classes[label], classes[row.argmax()], *digits])
    files.write_atomically(path, out.getvalue())


def read(path: Path, classes: Sequence[str]) -> Rows:
    """Reads it back; the probabilities are float64.

    Raises:
        ValueError: if it is not there, damaged, or of other classes.
    """
    try:
        header, *rows = csv.reader(io.StringIO(path.read_text(), newline=""))
        if header != [*_ORIGIN, *classes]:
            raise ValueError("its columns are others")
        labels = [classes.index(row[2]) for row in rows]
        numbers = np.array([row[len(_ORIGIN) :] for row in rows], np.float64)
        return Rows(
            [int(row[0]) for row in rows],
            [row[1] for row in rows],
            np.array(labels, np.int64),
            numbers.reshape(len(rows), len(classes)),
        )
    except (OSError, ValueError, IndexError) as error:
        raise ValueError(
            f"The predictions cannot be read: {error}. Received: {path}. Remove its folder and "
            "start the same command again."
        ) from error
