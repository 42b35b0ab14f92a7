import pytest

from trainer.config import TrainConfig
from trainer.learning_rate import create_schedule, rate_of_step

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
