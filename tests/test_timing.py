from collections.abc import Iterator

import pytest

from trainer.loop.timing import StepTimer, Timing


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Model:
    """A model whose steps, and whose batches, take as long as a test says."""

    def __init__(self, clock: Clock, *, step: float, batch: float) -> None:
        self._clock, self._step, self._batch = clock, step, batch
        self.train_function = self._train
        self.taken: list[int] = []

    def _train(self, iterator: Iterator[int]) -> dict[str, float]:
        self.taken.append(next(iterator))
        self._clock.now += self._step
        return {"loss": 0.5}

    def batches(self) -> Iterator[int]:
        for batch in range(100):
            self._clock.now += self._batch
            yield batch


def fit(step: float, batch: float, host: float) -> tuple[Timing, dict[str, float], Model]:
    """Two epochs of five steps, of 8 images; the first step takes long, as does validation."""
    clock, timing = Clock(), Timing()
    model = Model(clock, step=step, batch=batch)
    plain = model.train_function
    timer = StepTimer(timing, batch_size=8, clock=clock)
    timer.set_model(model)
    batches = model.batches()
    for epoch in range(2):
        timer.on_train_begin()
        logs: dict[str, float] = {}
        timer.on_epoch_begin(epoch)
        for _ in range(5):
            if not model.taken:
                clock.now += 1000
            assert model.train_function(batches) == {"loss": 0.5}
            clock.now += host
        timer.on_epoch_end(epoch, logs)
        clock.now += 500
    timer.on_train_end()
    assert model.train_function == plain
    return timing, logs, model


@pytest.mark.parametrize(
    ("step", "batch", "host", "says"),
    [
        (2.0, 0.0, 0.0, "4.0 images/s, waiting for input 0.0% of the time: bound by compute. More"),
        (1.0, 3.0, 0.0, "2.0 images/s, waiting for input 75.0% of the time: bound by input. More"),
        (1.0, 0.0, 3.0, "waiting for input 0.0% of the time: bound by host. A larger"),
        (3.0, 1.0, 0.0, "25.0% of the time: bound by compute. More or faster devices"),
    ],
)
def test_largest_share_is_the_bound(step, batch, host, says) -> None:
    timing, logs, model = fit(step, batch, host)
    assert says in timing.verdict()
    assert model.taken == list(range(10))  # Every batch once, in order.
    # The first step is left out, with the time before it; so is what stands between the epochs.
    assert timing.images == 9 * 8
    assert timing.input == pytest.approx(9 * batch)
    assert timing.compute == pytest.approx(9 * step)
    assert timing.total == pytest.approx(9 * (step + batch) + 8 * host)  # But 4 + 4 times.
    assert logs["waiting_for_input"] == pytest.approx(5 * batch / (5 * step + 5 * batch + 4 * host))


def test_notable_wait_is_told_where_it_is_not_the_bound() -> None:
    assert Timing(images=8, total=10, input=2, compute=8).verdict().endswith("speed it up too.")
    assert not Timing(images=8, total=10, input=0.5, compute=9).verdict().endswith("too.")


def test_nothing_is_claimed_of_no_step() -> None:
    assert Timing().verdict() == "Too few steps to measure."


def test_verdict_ends_with_what_else_there_is_to_say() -> None:
    timing = Timing(images=8, total=10, input=0.5, compute=9, remark="And a remark")
    assert timing.verdict().endswith("would speed it up. And a remark.")
