"""What a threshold below which no class is named meant for a run's validation."""

from collections.abc import Mapping
from typing import Any


def in_words(figures: Mapping[str, Any], threshold: float) -> str | None:
    """Returns one line for a person; None where the figures do not say.

    Args:
        figures: The content of metrics.json. Each row of its `reject` says which share of the
            validation photographs, `coverage`, is at least `threshold` sure, and which share of
            these, `precision`, is right at least.
        threshold: Of the rows the one of the next lower threshold is quoted, or the lowest.
    """
    rows = sorted(
        (row for row in figures.get("reject") or [] if row.get("threshold") is not None),
        key=lambda row: row["threshold"],
    )
    if not rows or not figures.get("num_examples"):
        return None
    row = next((row for row in reversed(rows) if row["threshold"] <= threshold), rows[0])
    count = figures["num_examples"]
    sure = round(row["coverage"] * count)
    return (
        f"Of the run's {count:,} validation photographs {sure:,} are at least "
        f"{row['threshold']:.2%} sure of their class, and {row['precision']:.0%} of those, or "
        "more, are right."
    )
