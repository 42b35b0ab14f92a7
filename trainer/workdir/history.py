"""The history of a run: a row an epoch, what the best one is, and what that decides.

Standard library only: that a finished run has nothing left to do is said without TensorFlow.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfrecords import files

# Those that no step or clock gives are what training and validation log under the same name.
COLUMNS = (
    "epoch", "step", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate",
    "images_per_second", "seconds",
)  # fmt: skip

Row = Mapping[str, float]


def best_row(history: Sequence[Row]) -> Row | None:
    """The row of the lowest val_loss, the earliest of equals; None before the first epoch."""
    return min(history, key=_val_loss, default=None)


def stops_early(history: Sequence[Row], patience: int | None) -> bool:
    """Whether the last `patience` epochs were no better than the best one; None: never."""
    best = best_row(history)
    if patience is None or best is None:
        return False
    return len(history) - best["epoch"] >= patience


def read(path: Path) -> list[dict[str, float]] | None:
    """Returns the rows of a history.csv; None where it is missing or damaged.

    The checkpoints hold them too, and training that goes on writes the file anew.
    """
    try:
        lines = csv.DictReader(path.read_text().splitlines())
        rows = [{name: float(value) for name, value in line.items()} for line in lines]
        numbers = [row["epoch"] for row in rows]
        complete = all("val_loss" in row for row in rows)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, csv.Error):
        return None
    return rows if complete and numbers == [*range(1, len(rows) + 1)] else None


def write(path: Path, rows: Sequence[Row]) -> None:
    """Writes history.csv: a row an epoch."""
    out = io.StringIO()
    # A run may go on from rows of a version that had fewer columns.
    writer = csv.DictWriter(out, COLUMNS, restval=math.nan, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_atomically(path, out.getvalue())


def _val_loss(row: Row) -> float:
    return math.inf if math.isnan(row["val_loss"]) else row["val_loss"]
