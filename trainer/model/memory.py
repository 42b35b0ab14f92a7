"""How much memory a step needs."""

import itertools
import math

import keras
import tensorflow as tf

from trainer.model.state import nbytes, variables
from trainer.numerics.reproducible_model import ReproducibleModel
from trainer.numerics.winograd import WinogradConv2D


def largest_output(model: keras.Model) -> int:
    """How many numbers the largest output of any layer has for one image."""
    return max(math.prod(layer.output.shape[1:]) for layer in model.layers)


def step_bytes(model: ReproducibleModel, rows: int) -> int:
    """Estimates the bytes that a replica needs for a step with so many images at once.

    Weights, gradients, also those that wait to be added up, and the optimizer's slots; and either
    the outputs that the backward pass needs, of every layer from the first that trains on, and what
    one of them works in, or the two largest neighbours before.
    """
    gradient_bytes = sum(map(nbytes, model.trainable_weights))
    variables_bytes = sum(map(nbytes, variables(model))) + gradient_bytes
    if model.sums.dtype == tf.float64:
        variables_bytes += (model.sums.parts + 2) * gradient_bytes  # The sum is twice as large.
    outputs = [
        math.prod(layer.output.shape[1:]) * tf.as_dtype(layer.output.dtype).size
        for layer in model.layers
    ]
    first = next((i for i, layer in enumerate(model.layers) if layer.trainable_weights), 0)
    passing = max(map(sum, itertools.pairwise(outputs)))
    working = max(
        (layer.scratch_bytes for layer in model.layers if isinstance(layer, WinogradConv2D)),
        default=0,
    )
    return variables_bytes + rows * max(passing, sum(outputs[first:]) + working)
