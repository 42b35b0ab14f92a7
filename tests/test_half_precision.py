"""Whether half precision pays: what is said of two steps that were measured."""

import pytest

from trainer import half_precision


@pytest.mark.parametrize(
    ("seconds", "in_float32", "says"),
    [
        (2.4, 2.0, "mixed_float16 2.4 s, float32 2 s: --precision=mixed_float16 does not pay here, "
         "its step takes 1.20 times as long as float32's"),
        (2.1, 2.0, "mixed_float16 2.1 s, float32 2 s: no difference to speak of"),
        (0.01, 0.02, "mixed_float16 0.01 s, float32 0.02 s: 2.00 times as fast"),
        (2.0, None, "mixed_float16 2 s; memory does not hold a step in float32"),
    ],
)  # fmt: skip
def test_both_steps_are_told_and_what_follows(
    seconds: float, in_float32: float | None, says: str
) -> None:
    assert half_precision.in_words("mixed_float16", seconds, in_float32) == says


def test_verdict_is_told_only_what_a_user_should_change() -> None:
    assert half_precision.remark_on("mixed_float16", 1.0, 1.0) == ""
    assert "1.50 times as long" in half_precision.remark_on("mixed_float16", 1.5, 1.0)
