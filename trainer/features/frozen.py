"""The frozen layers of a model: cut off from those that train, and what they cost."""

import math

import keras


def cut(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cuts a model before its first layer that trains: images -> features -> probabilities."""
    first = next(layer for layer in model.layers if layer.trainable_weights)
    return keras.Model(model.inputs, first.input), keras.Model(first.input, model.outputs)


def count_operations(frozen: keras.Model) -> int:
    """Floating-point operations of the convolutions, for one image."""
    operations, side = 0, frozen.input_shape[1]
    for layer in frozen.layers:
        if isinstance(layer, keras.layers.MaxPooling2D):
            side //= 2
        elif isinstance(layer, keras.layers.Conv2D):
            operations += 2 * math.prod(layer.kernel.shape) * side**2
    return operations
