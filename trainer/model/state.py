"""What of a model a checkpoint holds, and its size."""

import math
from typing import Any

import keras
import tensorflow as tf


def variables(model: keras.Model) -> list[Any]:
    """What a checkpoint holds: the weights, dropout's state and the optimizer's slots."""
    metrics = {id(variable) for variable in model.metrics_variables}
    of_model = [variable for variable in model.variables if id(variable) not in metrics]
    return [*of_model, *model.optimizer.variables]


def nbytes(variable: keras.Variable) -> int:
    """The size of a variable's value."""
    return math.prod(variable.shape) * tf.as_dtype(variable.dtype).size
