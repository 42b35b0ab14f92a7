"""The optimizer: what a gradient does to the weights."""

import keras

from trainer.config import TrainConfig
from trainer.model.learning_rate import Schedule


def create_optimizer(
    config: TrainConfig, learning_rate: Schedule | float
) -> keras.optimizers.Optimizer:
    """SGD with momentum 0.9, the reference recipe's, or AdamW; with a loss scale for float16."""
    options = {} if config.weight_decay is None else {"weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(learning_rate, **options)
    else:
        optimizer = keras.optimizers.SGD(learning_rate, momentum=0.9, **options)
    if config.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
