"""The variables of a model that a checkpoint holds, and their sizes."""

import math
from typing import Any

import keras
import tensorflow as tf

from trainer.model import moving_average


def variables(model: keras.Model) -> list[Any]:
    """What a checkpoint holds: the weights, dropout's state and the optimizer's slots.

    It is the same list of values, also where weights and averages have changed places.
    """
    metrics = {id(variable) for variable in model.metrics_variables}
    model_variables = [variable for variable in model.variables if id(variable) not in metrics]
    moved = moving_average.where_they_are(model)
    return [
        moved.get(id(variable), variable)
        for variable in (*model_variables, *model.optimizer.variables)
    ]


def nbytes(variable: keras.Variable) -> int:
    """Returns the size of a variable's value."""
    return math.prod(variable.shape) * tf.as_dtype(variable.dtype).size
