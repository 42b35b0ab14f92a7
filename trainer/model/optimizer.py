"""The optimizer: what a gradient does to the weights."""

from collections.abc import Sequence
from typing import Any

import keras

from trainer.config import TrainConfig
from trainer.model.layer_rates import LayerRate
from trainer.model.learning_rate import Schedule

_ADAMW_DECAY = 0.004  # Keras's default.


class _LayerwiseOptimizer(keras.optimizers.Optimizer):
    """Gives each variable its own learning rate, and leaves the averages of `use_ema` alone.

    It stands before an optimizer of Keras among the bases of a class. A rate of 0 changes nothing
    of a variable, by decay neither; Adam's moments follow the gradient all the same, so that its
    first step is no leap.

    Args:
        rates: One for each trainable variable, in the model's order.
        decay: Share of each weight that a step takes off, times its learning rate.
    """

    def __init__(
        self,
        learning_rate: Schedule | float,
        *,
        rates: Sequence[LayerRate],
        decay: float | None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self._rates = tuple(rates)
        self._decay = decay
        self.has_swapped = False  # Whether weights and averages have changed places.

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One update of one variable, on one device."""
        rate = self._rates[self._get_variable_index(variable)]
        share = keras.ops.cast(rate.share, variable.dtype)
        if rate.first_step:
            share = share * keras.ops.cast(self.iterations >= rate.first_step, variable.dtype)
        own = keras.ops.cast(learning_rate, variable.dtype) * share
        if self._decay:
            self.assign_sub(variable, variable * keras.ops.cast(self._decay, variable.dtype) * own)
        super().update_step(gradient, variable, own)

    def finalize_variable_values(self, var_list: Any) -> None:
        """Does nothing; Keras would put the averages in place of the weights as a `fit` ends.

        An epoch that was cut off is a fit of its own, and the next one goes on with the weights.
        """

    @property
    def averages(self) -> list[keras.Variable]:
        """The slots of `use_ema`, one for each trainable variable. Last seen in Keras 3.15.1."""
        return list(self._model_variables_moving_average) if self.use_ema else []


class LayerwiseSGD(_LayerwiseOptimizer, keras.optimizers.SGD):
    """SGD whose layers have rates of their own."""


class LayerwiseAdamW(_LayerwiseOptimizer, keras.optimizers.Adam):
    """AdamW whose layers have rates of their own: Adam, the decay from the mixin."""


def create_optimizer(
    config: TrainConfig, learning_rate: Schedule | float, rates: Sequence[LayerRate] = ()
) -> keras.optimizers.Optimizer:
    """SGD with momentum 0.9, the reference recipe's, or AdamW; with a loss scale for float16.

    Args:
        rates: Of each trainable variable. Keras's own optimizer is returned where all are alike
            and there is no average.
    """
    if config.ema is None and all(rate == LayerRate() for rate in rates):
        optimizer = _alike(config, learning_rate)
    else:
        optimizer = _layerwise(config, learning_rate, rates)
    if config.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def _alike(config: TrainConfig, learning_rate: Schedule | float) -> keras.optimizers.Optimizer:
    options = {} if config.weight_decay is None else {"weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        return keras.optimizers.AdamW(learning_rate, **options)
    return keras.optimizers.SGD(learning_rate, momentum=0.9, **options)


def _layerwise(
    config: TrainConfig, learning_rate: Schedule | float, rates: Sequence[LayerRate]
) -> keras.optimizers.Optimizer:
    options: dict[str, Any] = {"rates": rates, "decay": config.weight_decay}
    if config.ema is not None:
        options |= {"use_ema": True, "ema_momentum": config.ema}
    if config.optimizer == "sgd":
        return LayerwiseSGD(learning_rate, momentum=0.9, **options)
    if config.weight_decay is None:
        options["decay"] = _ADAMW_DECAY
    return LayerwiseAdamW(learning_rate, **options)
