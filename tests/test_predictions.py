import numpy as np
import pytest

from trainer.results.predictions import Prediction, mistakes_first


def prediction(name: str, first: float, label: int | None) -> Prediction:
    return Prediction(name, np.zeros((1, 1, 3), np.uint8), np.array([first, 1 - first]), label)


def test_mistakes_come_first_by_confidence_and_the_rest_keeps_its_order() -> None:
    shown = [
        prediction("right", 0.9, 0),
        prediction("unsure", 0.6, 1),
        prediction("unknown", 0.9, None),
        prediction("sure", 0.2, 0),
    ]
    assert [p.name for p in mistakes_first(shown)] == ["sure", "unsure", "right", "unknown"]


@pytest.mark.parametrize(("label", "is_wrong"), [(None, False), (0, False), (1, True)])
def test_what_was_said_is_wrong_where_another_class_is_known(label, is_wrong) -> None:
    one = prediction("x", 0.6, label)
    assert (one.predicted, one.is_wrong) == (0, is_wrong)
