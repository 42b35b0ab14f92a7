"""How fast each layer trains, and from which step on: gradual unfreezing, layer-wise decay.

Both as in Howard and Ruder, Universal Language Model Fine-tuning, ACL 2018. Every layer that is
ever to train does from the start, at a rate of 0 until its epoch: variables, slots, features and
checkpoints are the same all along.
"""

import dataclasses
import difflib
from collections.abc import Sequence

import keras

from trainer.config import TrainConfig

Unfreezings = Sequence[tuple[int, str]]
"""From which epoch on, the first is 1, which frozen layer and those behind it train."""


@dataclasses.dataclass(frozen=True)
class LayerRate:
    """The learning rate of a variable.

    Attributes:
        share: Of the optimizer's learning rate.
        first_step: The first update that changes the variable, counted from 0.
    """

    share: float = 1.0
    first_step: int = 0


def first_trained(layers: Sequence[str], freeze_layers: int, unfreezings: Unfreezings) -> int:
    """Returns the position of the first layer that ever trains; the backbone's input stands at 0.

    Args:
        layers: Names of the backbone's layers behind its input, in order.
        freeze_layers: How many of them, and of the input, are frozen at first.

    Raises:
        ValueError: if an unfreezing names no layer of the backbone, or one that is not frozen.
    """
    positions = [_position(name, layers, freeze_layers) for _, name in unfreezings]
    return min([freeze_layers, *positions])


def layer_rates(model: keras.Model, config: TrainConfig, steps_per_epoch: int) -> list[LayerRate]:
    """Returns the rate of each trainable variable of a model, as `build_model` returns it."""
    layers = model.backbone_layers
    training = [name for name in layers if model.get_layer(name).trainable_weights]
    rates: dict[int, LayerRate] = {}
    for depth, name in enumerate(reversed(training), start=1):
        epoch = _first_epoch(layers.index(name) + 1, model, config.unfreezings)
        rate = LayerRate(config.layer_decay**depth, (epoch - 1) * steps_per_epoch)
        rates |= {id(weight): rate for weight in model.get_layer(name).trainable_weights}
    return [rates.get(id(weight), LayerRate()) for weight in model.trainable_weights]


def _first_epoch(position: int, model: keras.Model, unfreezings: Unfreezings) -> int:
    """The first epoch, counted from 1, in which the layer at a position trains."""
    if position >= model.freeze_layers:
        return 1
    layers = model.backbone_layers
    return min(epoch for epoch, name in unfreezings if layers.index(name) + 1 <= position)


def _position(name: str, layers: Sequence[str], freeze_layers: int) -> int:
    if name not in layers:
        nearest = difflib.get_close_matches(name, layers, n=1, cutoff=0)
        raise ValueError(
            f"unfreeze must name layers of the backbone. Received: {name}. "
            f"The nearest is {''.join(nearest)}; all are {', '.join(layers)}."
        )
    position = layers.index(name) + 1
    if position >= freeze_layers:
        raise ValueError(
            f"unfreeze must name layers that are frozen. Received: {name}, which trains from the "
            f"start, with freeze_layers={freeze_layers}. Leave it out, or freeze more."
        )
    return position
