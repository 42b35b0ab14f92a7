"""What a program is told of a photograph: its name and its classes, best first."""

from collections.abc import Sequence
from typing import Any

NONE = "none of these"


def answer(
    name: str,
    top: Sequence[tuple[int, float]],
    classes: Sequence[str],
    rejected: bool | None = None,
) -> dict[str, Any]:
    """Returns it as JSON has it.

    Args:
        name: The photograph's.
        top: Index and probability of the most probable classes, best first.
        classes: Names, in the order of the indices.
        rejected: Whether the best is not probable enough: `answer` is `none of these`, and else its
            class; None: that was not asked, and there is no `answer`.
    """
    predictions = [{"class": classes[i], "probability": p} for i, p in top]
    if rejected is None:
        return {"image": name, "predictions": predictions}
    said = NONE if rejected else classes[top[0][0]]
    return {"image": name, "answer": said, "rejected": rejected, "predictions": predictions}
