"""The file of labels that look wrong, `label_issues.csv`."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tfrecords import files
from trainer.results.label_issues import LabelIssue
from trainer.results.predictions_file import Rows

_COLUMNS = (
    "id", "file", "label", "suggested", "probability_of_label", "probability_of_suggested",
    "confident",
)  # fmt: skip


def write(path: Path, issues: Sequence[LabelIssue], rows: Rows, classes: Sequence[str]) -> None:
    """Writes a row an issue, the most doubtful first.

    Args:
        issues: As `label_issues.find` returns them.
        rows: The examples, and what models said of them that had not seen them.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for number, label, suggested, is_confident in issues:
        said = rows.probabilities[number]
        digits = (f"{said[label]:.6f}", f"{said[suggested]:.6f}")
        names = (classes[label], classes[suggested])
        confident = "yes" if is_confident else "no"
        writer.writerow([rows.ids[number], rows.files[number], *names, *digits, confident])
    files.write_atomically(path, out.getvalue())
