"""What a program is told of a photograph: its name and its classes, best first."""

from collections.abc import Sequence
from typing import Any

NONE = "none of these"


def answer(
    name: str,
    top: Sequence[tuple[int, float]],
    classes: Sequence[str],
    reject_below: float | None = None,
) -> dict[str, Any]:
    """Returns it as JSON has it.

    Args:
        name: The photograph's.
        top: Index and probability of the most probable classes, best first.
        classes: Names, in the order of the indices.
        reject_below: Where the best is less probable, `answer` is `none of these`, and else its
            class; None: there is no `answer`.
    """
    predictions = [{"class": classes[i], "probability": p} for i, p in top]
    if reject_below is None:
        return {"image": name, "predictions": predictions}
    best, probability = top[0]
    said = NONE if probability < reject_below else classes[best]
    return {"image": name, "answer": said, "predictions": predictions}
