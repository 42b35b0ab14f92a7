"""Work handed over between threads: beside each other, in order, and no thread left behind."""

import threading
from collections.abc import Iterator

import pytest

from trainer.features.handover import BrokenOffError, hand_over


def test_next_is_made_while_the_last_is_used_up() -> None:
    """Neither gets any further without the other."""
    made = [threading.Event() for _ in range(4)]
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    def consume(handed: Iterator[int]) -> None:
        for number in handed:
            assert made[min(number + 1, 3)].wait(timeout=120)
            taken.append(number)

    hand_over(items(), consume)
    assert taken == [0, 1, 2, 3]


def test_no_more_than_one_waits() -> None:
    """A slow disk does not fill the memory."""
    made = 0
    most_ahead: list[int] = []

    def items() -> Iterator[int]:
        nonlocal made
        while made < 20:
            made += 1
            yield made

    def consume(handed: Iterator[int]) -> None:
        for number in handed:
            threading.Event().wait(0.002)
            most_ahead.append(made - number)

    hand_over(items(), consume)
    assert max(most_ahead) <= 2  # One waits, and one is made already and waits for its place.


def test_error_of_the_consumer_comes_out_though_there_is_no_end_of_items() -> None:
    def consume(handed: Iterator[int]) -> None:
        next(handed)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        hand_over(iter(int, 1), consume)


def test_consumer_need_not_take_all() -> None:
    hand_over(iter(int, 1), next)


def test_consumer_is_told_that_items_broke_off_and_has_ended_by_then() -> None:
    seen: list[object] = []

    def items() -> Iterator[int]:
        yield 1
        raise MemoryError

    def consume(handed: Iterator[int]) -> None:
        try:
            seen.extend(handed)
        except BrokenOffError as error:
            seen.append(type(error))
            raise

    with pytest.raises(MemoryError):
        hand_over(items(), consume)
    assert seen[-1] is BrokenOffError
