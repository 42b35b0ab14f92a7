import contextlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.numerics.dropout import PerExampleDropout
from trainer.numerics.reproducible_model import (
    ReproducibleModel,
    Sums,
    count_pieces,
    in_pieces,
    parts_per_replica,
)
from trainer.numerics.summation import sum_exactly


@pytest.mark.parametrize(
    ("batch_size", "replicas", "parts"),
    [
        (32, 1, 4),
        (32, 2, 2),
        (32, 4, 1),
        (32, 8, 1),  # More replicas than parts.
        (24, 1, 12),
        (24, 2, 6),
        (24, 3, 4),
        (24, 4, 3),
        (24, 8, 1),
        (6, 1, 6),
        (6, 3, 2),
        (7, 1, 1),
    ],
)
def test_global_batch_is_cut_into_the_same_parts(batch_size, replicas, parts) -> None:
    assert parts_per_replica(batch_size, replicas) == parts


def trained(
    model_class: type[keras.Model],
    parts: int,
    dropout: float = 0.0,
    *,
    sum_dtype: str = "float32",
    uses_xla: bool = False,
    microbatch: int | None = None,
) -> list[np.ndarray]:
    """The weights after five steps of the same batches."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(40, 6)), np.eye(3)[rng.integers(0, 3, 40)]
    inputs = keras.Input((6,))
    x = keras.layers.Dense(64, "relu", kernel_initializer=keras.initializers.GlorotUniform(1))(
        inputs
    )
    x = PerExampleDropout(dropout, seed=3)(x)
    x = keras.layers.Dense(3, "softmax", kernel_initializer=keras.initializers.GlorotUniform(2))(x)
    model = model_class(inputs, x)
    if isinstance(model, ReproducibleModel):
        model.settle(Sums(parts, tf.as_dtype(sum_dtype)), uses_xla=uses_xla)
        model.set_microbatch(microbatch)
    model.compile(
        keras.optimizers.SGD(0.5, momentum=0.9),
        keras.losses.CategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    model.fit(images, labels, batch_size=8, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.mark.parametrize("sum_dtype", ["float32", "float64"])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_update_is_that_of_keras(parts, sum_dtype) -> None:
    keras_own = trained(keras.Model, 1)
    for ours, theirs in zip(
        trained(ReproducibleModel, parts, sum_dtype=sum_dtype), keras_own, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_sum_is_the_same_in_whatever_groups_and_order_it_is_added() -> None:
    rng = np.random.default_rng(0)
    # Some of a number's size, and some lost beside it: exact ties that a lost one would break.
    numbers = rng.normal(size=(12, 1000)) * 2.0 ** rng.choice([0, -70], (12, 1000))
    parts = [tf.constant(row, tf.float32) for row in numbers]
    largest = tf.reduce_max(tf.abs(tf.stack(parts)))
    whole = sum_exactly(parts, largest)
    for groups in (2, 3, 4, 6, 12):
        size = 12 // groups
        sums = [sum_exactly(parts[i : i + size], largest) for i in range(0, 12, size)]
        for order in (sums, sums[::-1], sums[1:] + sums[:1]):
            np.testing.assert_array_equal(tf.add_n(order), whole)
    np.testing.assert_allclose(whole, numbers.astype(np.float32).sum(axis=0), atol=1e-6)


def test_sum_keeps_what_is_no_number() -> None:
    parts = [tf.constant([1.0, 2.0, np.inf]), tf.constant([1.0, np.nan, 0.0])]
    total = sum_exactly(parts, tf.reduce_max(tf.abs(tf.stack(parts)))).numpy()
    assert not np.isfinite(total[1:]).any()


@pytest.mark.parametrize("parts", [2, 4])
def test_dropout_follows_the_examples_into_the_parts(parts) -> None:
    whole, cut = (
        trained(ReproducibleModel, 1, dropout=0.5),
        trained(ReproducibleModel, parts, dropout=0.5),
    )
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    without = trained(ReproducibleModel, 1)
    assert not np.allclose(whole[0], without[0], atol=1e-3)


@pytest.mark.parametrize(
    ("rows", "microbatch", "pieces"),
    [(8, None, 1), (8, 8, 1), (8, 9, 1), (8, 7, 2), (8, 4, 2), (8, 3, 4), (8, 1, 8), (9, 4, 3)],
)
def test_no_piece_is_larger_than_a_microbatch(rows, microbatch, pieces) -> None:
    assert count_pieces(rows, microbatch) == pieces


@pytest.mark.parametrize(("parts", "microbatch"), [(1, 4), (1, 1), (2, 3), (4, 1)])
def test_microbatches_make_the_update_of_the_whole_batch(parts, microbatch) -> None:
    whole = trained(ReproducibleModel, parts, dropout=0.5)
    for a, b in zip(
        whole, trained(ReproducibleModel, parts, dropout=0.5, microbatch=microbatch), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(("parts", "microbatch"), [(1, 2), (2, None), (3, 6), (3, 1)])
def test_pieces_of_a_prediction_are_put_together_in_order(parts, microbatch) -> None:
    inputs = keras.Input((2, 3))
    model = keras.Model(inputs, keras.layers.Dense(5)(inputs))
    batch = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(6, 2, 3)))
    whole = in_pieces(model, batch, 1, None)
    assert whole.shape == (6, 2, 5)
    np.testing.assert_allclose(in_pieces(model, batch, parts, microbatch), whole, atol=1e-6)


@pytest.mark.parametrize("microbatch", [None, 2])
def test_compiled_update_is_the_same(microbatch) -> None:
    plain = trained(ReproducibleModel, 2, dropout=0.5)
    compiled = trained(ReproducibleModel, 2, dropout=0.5, uses_xla=True, microbatch=microbatch)
    for a, b in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def _next_mask(layer: PerExampleDropout, inputs: np.ndarray) -> np.ndarray:
    layer.draw(*inputs.shape)
    out = np.asarray(layer(inputs, training=True))
    layer.advance()
    return out


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    layer = PerExampleDropout(0.25, seed=0)
    ones = np.ones((400, 100), np.float32)
    first, second = (_next_mask(layer, ones) for _ in range(2))
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert first.mean() == pytest.approx(1.0, abs=0.01)
    assert not np.array_equal(first, second)  # Another step, another mask.
    np.testing.assert_array_equal(layer(ones, training=False), ones)


def test_loss_on_three_replicas_is_the_quotient_of_one() -> None:
    """Three times the sum of the losses is rounded; the process has to have its own devices."""
    total, count = np.float32(81.76221466064453), np.float32(9)
    script = f"""
import keras
from trainer.distribute.strategy import create_strategy
from trainer.numerics.reproducible_model import ReproducibleModel

with create_strategy(num_gpus=0, cpu_replicas=3, cluster=None).scope():
    inputs = keras.Input((2,))
    model = ReproducibleModel(inputs, keras.layers.Dense(2, "softmax")(inputs))
    model.compile(loss=keras.losses.CategoricalCrossentropy(), metrics=["accuracy"])
    model.build_training()
model.write_metrics([{total}, {count}, 1.0, 2.0])
print({{name: float(value) for name, value in model.get_metrics_result().items()}})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    expected = {"loss": float(total / count), "accuracy": 0.5}
    assert done.stdout.splitlines()[-1:] == [str(expected)], done.stderr


def test_trial_puts_the_microbatch_back() -> None:
    inputs = keras.Input((2,))
    model = ReproducibleModel(inputs, keras.layers.Dense(2)(inputs))
    model.set_microbatch(4)
    with contextlib.suppress(MemoryError), model.trying_microbatch(2):
        assert model.microbatch == 2
        raise MemoryError
    assert model.microbatch == 4
