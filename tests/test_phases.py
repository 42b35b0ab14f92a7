import contextlib
import itertools

import pytest

from trainer.loop.epoch_page import EpochPage
from trainer.loop.phases import Phases


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_phase_within_another_counts_for_itself_alone() -> None:
    clock = Clock()
    phases = Phases(clock)
    with phases.measured("training"):
        clock.now += 5
        for _ in range(2):
            with phases.measured("validation"):
                clock.now += 1
        clock.now += 3
    clock.now += 100  # Of no phase.
    with phases.measured("validation"):
        clock.now += 4
    assert phases.seconds == {"training": 8, "validation": 6}


def test_phase_that_fails_is_counted_too() -> None:
    clock = Clock()
    phases = Phases(clock)
    with contextlib.suppress(KeyError), phases.measured("training"):
        clock.now += 2
        raise KeyError
    assert phases.seconds == {"training": 2}


def test_page_is_written_at_ends_of_epochs_takes_a_twentieth_at_most_and_may_fail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    written: list[float] = []

    def write() -> None:
        written.append(clock.now)
        clock.now += 2  # A slow one.

    page = EpochPage(write, clock)
    for epoch in range(200):
        clock.now += 1
        page.on_epoch_end(epoch)
    assert written[0] == 10  # A short run has none but the last.
    assert all(later - earlier >= 2 + 20 * 2 for earlier, later in itertools.pairwise(written))
    assert 4 <= len(written) <= 5

    def fail() -> None:
        raise OSError(28, "No space left on device")

    full = EpochPage(fail, clock)
    clock.now += 1000
    full.on_epoch_end(0)
    assert "No space left on device" in caplog.text
    quick = EpochPage(lambda: written.append(-1), clock)
    clock.now += 1000
    quick.on_epoch_end(0)
    assert written[-1] == -1
