import pytest

from trainer.config import TrainConfig
from trainer.model.learning_rate import create_schedule, describe_growth, rate_of_step

STEPS_PER_EPOCH = 10


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({}, {0: 0.2, 39: 0.2}),
        # Up from a tenth of it, in ten steps; then it stays.
        ({"warmup_epochs": 1}, {0: 0.02, 5: 0.11, 10: 0.2, 39: 0.2}),
        # Half a cosine from the first step to the last.
        ({"learning_rate_schedule": "cosine"}, {1: 0.2 * 0.99846, 20: 0.1, 40: 0.0}),
        (
            {"learning_rate_schedule": "cosine", "warmup_epochs": 2.0},
            {0: 0.01, 10: 0.105, 20: 0.2, 30: 0.1, 40: 0.0},
        ),
        ({"learning_rate_schedule": "cosine", "warmup_epochs": 0.5}, {0: 0.04, 5: 0.2, 40: 0.0}),
    ],
)
def test_rate_is_a_function_of_the_step(options, rates) -> None:
    config = TrainConfig(data_dir="d", workdir="w", epochs=4, learning_rate=0.2, **options)
    schedule = create_schedule(config, STEPS_PER_EPOCH)
    for step, rate in rates.items():
        assert rate_of_step(schedule, step) == pytest.approx(rate, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "grow from 2 to 4: the run ends as if it had been started with 4."),
        ({"warmup_epochs": 1.5}, "grow from 2 to 4: the run ends as if it had been started with 4"),
        # At the end of half a cosine; then in the middle of one that is twice as long.
        ({"learning_rate_schedule": "cosine"}, "at 0.1 where it was 0."),
        ({"learning_rate_schedule": "cosine", "warmup_epochs": 1.0}, "at 0.15 where it was 0."),
    ],
)
def test_more_epochs_say_what_becomes_of_the_rate(options, says) -> None:
    config = TrainConfig(data_dir="d", workdir="w", epochs=4, learning_rate=0.2, **options)
    said = describe_growth(config, 2, step=20, steps_per_epoch=STEPS_PER_EPOCH)
    assert says in said
    assert ("ends elsewhere" in said) == ("cosine" in options.values())


@pytest.mark.parametrize("warmup_epochs", [0.0, 1.5])
def test_constant_rate_does_not_depend_on_the_number_of_epochs(warmup_epochs: float) -> None:
    few, more = (
        create_schedule(
            TrainConfig(data_dir="d", workdir="w", epochs=epochs, warmup_epochs=warmup_epochs),
            STEPS_PER_EPOCH,
        )
        for epochs in (2, 4)
    )
    for step in range(2 * STEPS_PER_EPOCH):
        assert rate_of_step(few, step) == rate_of_step(more, step)
