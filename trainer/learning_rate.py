"""The learning rate: a pure function of the step, so a run that resumes goes on with it exactly."""

from typing import TypeAlias

import keras

from trainer.config import TrainConfig

Schedule: TypeAlias = keras.optimizers.schedules.LearningRateSchedule


def create_schedule(config: TrainConfig, steps_per_epoch: int) -> Schedule | float:
    """Returns a linear warm-up to the learning rate, then the rate itself or half a cosine to 0.

    Warm-up as in Goyal et al., Accurate, Large Minibatch SGD, 2017; cosine as in Loshchilov and
    Hutter, SGDR, ICLR 2017, without restarts.
    """
    rate, constant = config.learning_rate, config.learning_rate_schedule == "constant"
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    if constant and not warmup_steps:
        return rate
    return keras.optimizers.schedules.CosineDecay(
        # The first step already has its share: at a rate of 0 it would be lost.
        initial_learning_rate=rate / warmup_steps if warmup_steps else rate,
        warmup_target=rate if warmup_steps else None,
        warmup_steps=warmup_steps,
        decay_steps=max(config.epochs * steps_per_epoch - warmup_steps, 1),
        alpha=1.0 if constant else 0.0,  # The share that it decays to.
    )


def rate_of_step(schedule: Schedule | float, step: int) -> float:
    """The learning rate of a step, the first of which is 0."""
    return schedule if isinstance(schedule, float) else float(schedule(step))
