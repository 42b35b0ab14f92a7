"""Divides a model where frozen layers end: images -> features -> probabilities."""

from typing import Any

import keras

from trainer.model.freezing import may_train
from trainer.model.head import DROPOUT, STANDARDIZE, STANDARDIZE_PLACES

# What is fitted to features stands behind them, and so does what draws anew in each step.
_BEHIND_FEATURES = (STANDARDIZE, STANDARDIZE_PLACES, DROPOUT)


class UndividedError(ValueError):
    """A model that cannot be divided."""


def cut(model: keras.Model, *, before_head: bool = False) -> tuple[keras.Model, keras.Model]:
    """Divides a model at the one tensor that separates the frozen layers from those that train.

    Layers without weights, and batch normalisation, which never trains, may stand on either side;
    of several such tensors it is the last.

    Args:
        model: As `classifier.build_model` returns it.
        before_head: Whether layers of the head are to stand behind it, also those without weights.

    Returns:
        (frozen, rest): images in, features out; features in, probabilities out. They share the
        model's layers, and the weights with them.

    Raises:
        UndividedError: if there is no such tensor, as where a frozen layer stands in a branch
            beside one that trains.
    """
    before = _before_training(model)
    if before_head:
        before = [each for each in before if not _is_in_head(model, each)]
    tensor, behind = next(
        (tensor, behind)
        for operation in reversed(before)
        for tensor in keras.tree.flatten(operation.output)
        if (behind := _behind(model, tensor)) is not None
    )
    beside = [each.name for each in before if each in behind and each.weights and may_train(each)]
    if beside:
        trains = next(layer.name for layer in model.layers if layer.trainable_weights)
        raise UndividedError(
            "No single tensor separates the frozen layers from those that train. Received: "
            f"{', '.join(beside)}, frozen, in a branch beside {trains}, which trains. Freeze as "
            "many layers as there are up to where the branches meet, or to where they part."
        )
    return keras.Model(model.input, tensor), keras.Model(tensor, model.outputs)


def _before_training(model: keras.Model) -> list[Any]:
    """Returns the layers and operations that no layer that trains stands before, in order."""
    behind_training: set[int] = set()  # Tensors, by their identity.
    before = []
    for operation in model.operations:
        trains = isinstance(operation, keras.Layer) and operation.trainable_weights
        trains = trains or operation.name in _BEHIND_FEATURES
        if trains or any(id(tensor) in behind_training for tensor in _inputs(operation)):
            behind_training |= {id(tensor) for tensor in keras.tree.flatten(operation.output)}
        else:
            before.append(operation)
    return before


def _is_in_head(model: keras.Model, operation: Any) -> bool:
    names = [each.name for each in model.operations]
    last = max(names.index(name) for name in model.backbone_layers)
    return names.index(operation.name) > last


def _behind(model: keras.Model, tensor: keras.KerasTensor) -> list[Any] | None:
    """What is between a tensor and the model's outputs; None where another way leads round it."""
    needed = {id(output) for output in model.outputs}
    behind = []
    for operation in reversed(model.operations):
        outputs = {id(output) for output in keras.tree.flatten(operation.output)}
        if needed & outputs - {id(tensor)}:
            if isinstance(operation, keras.layers.InputLayer):
                return None
            behind.append(operation)
            needed |= {id(each) for each in _inputs(operation)}
    return behind


def _inputs(operation: Any) -> list[keras.KerasTensor]:
    is_source = isinstance(operation, keras.layers.InputLayer)
    return [] if is_source else keras.tree.flatten(operation.input)
