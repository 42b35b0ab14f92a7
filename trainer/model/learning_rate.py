"""The learning rate: a pure function of the step, so a run that resumes goes on with it exactly."""

import dataclasses
import math
from typing import TypeAlias

import keras

from trainer.config import TrainConfig

_REFERENCE_BATCH = 32  # The default batch size, for which the learning rate is given.

Schedule: TypeAlias = keras.optimizers.schedules.LearningRateSchedule


def scaled_rate(config: TrainConfig) -> float:
    """Returns the learning rate for a config's batch, as --lr_scaling has it.

    linear as in Goyal et al., Accurate, Large Minibatch SGD, 2017; sqrt as in Krizhevsky, One Weird
    Trick, 2014.
    """
    if config.lr_scaling == "none":
        return config.learning_rate
    ratio = config.batch_size / _REFERENCE_BATCH
    return config.learning_rate * (ratio if config.lr_scaling == "linear" else math.sqrt(ratio))


def describe_scaling(config: TrainConfig) -> str:
    """Says what becomes of the learning rate, for a person; "" where it stays."""
    if config.lr_scaling == "none":
        return ""
    ratio = f"{config.batch_size}/{_REFERENCE_BATCH}"
    factor = ratio if config.lr_scaling == "linear" else f"the root of {ratio}"
    return (
        f"Learning rate: {config.learning_rate:g} x {factor} = {scaled_rate(config):.6g}, "
        "for the batch (--lr_scaling=none leaves it)."
    )


def create_schedule(config: TrainConfig, steps_per_epoch: int) -> Schedule | float:
    """Returns a linear warm-up to the learning rate, then the rate itself or half a cosine to 0.

    Warm-up as in Goyal et al., Accurate, Large Minibatch SGD, 2017; cosine as in Loshchilov and
    Hutter, SGDR, ICLR 2017, without restarts.
    """
    rate, constant = scaled_rate(config), config.learning_rate_schedule == "constant"
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    if constant and not warmup_steps:
        return rate
    return keras.optimizers.schedules.CosineDecay(
        # The first step already has its part of the rate: at 0 it would be lost.
        initial_learning_rate=rate / warmup_steps if warmup_steps else rate,
        warmup_target=rate if warmup_steps else None,
        warmup_steps=warmup_steps,
        decay_steps=max(config.epochs * steps_per_epoch - warmup_steps, 1),
        alpha=1.0 if constant else 0.0,  # The fraction that it decays to.
    )


def rate_of_step(schedule: Schedule | float, step: int) -> float:
    """The learning rate of a step, the first of which is 0."""
    return schedule if isinstance(schedule, float) else float(schedule(step))


def describe_growth(config: TrainConfig, epochs: int, *, step: int, steps_per_epoch: int) -> str:
    """Says what it means for the learning rate that a run has more epochs now.

    Args:
        config: The run's, with the new number of epochs.
        epochs: How many it was asked for before.
        step: The next one; the run's first is 0.
        steps_per_epoch: Batches in an epoch.
    """
    grown = f"Epochs grow from {epochs} to {config.epochs}:"
    if config.learning_rate_schedule == "constant":
        return f"{grown} the run ends as if it had been started with {config.epochs}."
    shorter = dataclasses.replace(config, epochs=epochs)
    before, now = (
        rate_of_step(create_schedule(each, steps_per_epoch), step) for each in (shorter, config)
    )
    return (
        f"{grown} the learning rate now falls to 0 with the last of these, so that it goes on at "
        f"{now:.3g} where it was {before:.3g}. A run started with {config.epochs} ends elsewhere."
    )
