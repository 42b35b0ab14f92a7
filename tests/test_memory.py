"""The memory of a step."""

import keras

from trainer.model import memory
from trainer.numerics.reproducible_model import ReproducibleModel, reproducible_sums


def test_memory_is_that_of_variables_and_of_the_outputs_to_go_back_through() -> None:
    """3 x 2 + 2 weights that do not train, 2 x 5 + 5 that do, with momentum."""
    inputs = keras.Input((3,))
    frozen = keras.layers.Dense(2, trainable=False)
    model = ReproducibleModel(inputs, keras.layers.Dense(5)(frozen(inputs)))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    scalars = {"learning rate": 4, "iterations": model.optimizer.iterations.numpy().itemsize}
    weights, gradients, momenta = 4 * (8 + 15), 4 * 15, 4 * 15
    known = weights + gradients + momenta + sum(scalars.values())
    # Of 10 images: the last layer's 5 outputs, less than the neighbours 2 + 5.
    assert memory.step_bytes(model, rows=10) == known + 10 * 4 * 7
    model.settle(
        reproducible_sums(9, 1)
    )  # Three parts wait, and their sum has numbers of twice the size.
    assert memory.step_bytes(model, rows=10) == known + 10 * 4 * 7 + 3 * gradients + 2 * gradients
