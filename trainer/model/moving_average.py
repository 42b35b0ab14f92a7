"""The moving average over a run's weights, which is what is validated and saved with --ema.

Averages of the last steps generalise better than their end (Polyak and Juditsky, 1992; Izmailov et
al., Averaging Weights Leads to Wider Optima, UAI 2018). Keras's optimizer keeps it in slots, which
are among the variables of a checkpoint.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Inside, a model has the averages for its weights; as it is, where it has none.

    Its checkpoints do not change by it: see `trainer.model.state.variables`.
    """
    optimizer = _own(model)
    pairs = list(zip(model.trainable_weights, getattr(optimizer, "averages", []), strict=False))
    if not pairs or not keras.ops.convert_to_numpy(optimizer.iterations):  # They begin at 0.
        yield
        return
    _swap(pairs)
    optimizer.has_swapped = True
    try:
        yield
    finally:
        _swap(pairs)
        optimizer.has_swapped = False


def where_they_are(model: keras.Model) -> dict[int, Any]:
    """Returns, by the identity of a weight or an average, the variable that holds its value now.

    Those that hold their own are left out.
    """
    optimizer = _own(model)
    if not getattr(optimizer, "has_swapped", False):
        return {}
    pairs = list(zip(model.trainable_weights, optimizer.averages, strict=True))
    return {id(a): b for pair in pairs for a, b in (pair, pair[::-1])}


def _own(model: keras.Model) -> Any:
    """The optimizer inside of that which scales the loss."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def _swap(pairs: list[tuple[keras.Variable, keras.Variable]]) -> None:
    """Exchanges values to the bit; Keras's SwapEMAWeights adds and subtracts, and rounds."""
    for weight, average in pairs:
        before = keras.ops.convert_to_numpy(weight).copy()
        weight.assign(keras.ops.convert_to_numpy(average))
        average.assign(before)
