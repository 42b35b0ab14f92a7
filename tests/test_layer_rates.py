"""Which layers train, how fast and from which step on; and the optimizers that do it."""

import re

import keras
import numpy as np
import pytest

from tests.support import miniature_backbone
from trainer.config import TrainConfig
from trainer.model.classifier import build_model
from trainer.model.division import cut
from trainer.model.head import Head
from trainer.model.layer_rates import LayerRate, layer_rates
from trainer.model.moving_average import averaged
from trainer.model.optimizer import create_optimizer
from trainer.model.state import variables

STEPS_PER_EPOCH = 10
# Its layers: means, conv1, conv2, conv3, behind its input.
BACKBONE = miniature_backbone.create(convolutions=3)


def config_of(**options: object) -> TrainConfig:
    defaults = {"freeze_layers": 4, "learning_rate": 0.1}
    return TrainConfig(data_dir="d", workdir="w", **defaults | options)


def build(config: TrainConfig, steps_per_epoch: int = STEPS_PER_EPOCH) -> keras.Model:
    model = build_model(
        2, backbone=BACKBONE, input_size=96, head=Head("gap"), freeze_layers=config.freeze_layers,
        unfreezings=config.unfreezings, precision=config.precision,
    )  # fmt: skip
    rates = layer_rates(model, config, steps_per_epoch)
    loss = keras.losses.CategoricalCrossentropy()
    model.compile(create_optimizer(config, config.learning_rate, rates), loss, jit_compile=False)
    model.build_training()
    return model


def step(model: keras.Model, count: int = 1) -> None:
    """Updates with the same gradients each time, a quarter of which are 0."""
    rng = np.random.default_rng(0)
    gradients = [
        keras.ops.convert_to_tensor(rng.integers(-1, 3, weight.shape).astype("float32"))
        for weight in model.trainable_weights
    ]
    for _ in range(count):
        scale = model.optimizer.scale_loss(1.0)
        model.optimizer.apply([gradient * scale for gradient in gradients])


def moved(model: keras.Model, before: list[np.ndarray]) -> set[str]:
    """The layers whose weights are others now."""
    changed = [(b != a).any() for b, a in zip(before, model.get_weights(), strict=True)]
    return {w.path.split("/")[0] for w, c in zip(model.weights, changed, strict=True) if c}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # {layer: its share of the rate, its first step}; layers that never train are left out.
        ({}, {"conv3": (1, 0)}),
        ({"freeze_layers": 19}, {}),
        ({"layer_decay": 0.5, "freeze_layers": 2}, {"conv1": (0.125, 0), "conv2": (0.25, 0),
                                                    "conv3": (0.5, 0)}),
        ({"unfreeze": "3:conv2"}, {"conv2": (1, 20), "conv3": (1, 0)}),
        # What stands behind a layer has been unfrozen with it; the earliest epoch counts.
        ({"unfreeze": "4:conv1"}, {"conv1": (1, 30), "conv2": (1, 30), "conv3": (1, 0)}),
        ({"unfreeze": "4:conv1,2:conv2"}, {"conv1": (1, 30), "conv2": (1, 10), "conv3": (1, 0)}),
        ({"unfreeze": "2:means", "freeze_layers": 19}, {"conv1": (1, 10), "conv2": (1, 10),
                                                       "conv3": (1, 10)}),
        ({"unfreeze": "1:conv2", "layer_decay": 0.5}, {"conv2": (0.25, 0), "conv3": (0.5, 0)}),
    ],
)  # fmt: skip
def test_rates_of_the_layers(options, expected) -> None:
    config = config_of(**options)
    model = build(config)
    rates = {
        weight.path.split("/")[0]: rate
        for weight, rate in zip(
            model.trainable_weights, layer_rates(model, config, STEPS_PER_EPOCH), strict=True
        )
    }
    head = dict.fromkeys(("dense", "probabilities"), LayerRate())
    assert rates == {name: LayerRate(*rate) for name, rate in expected.items()} | head


def test_features_are_cut_before_the_earliest_layer_that_is_ever_to_train() -> None:
    frozen, _ = cut(build(config_of(unfreeze="3:conv2")))
    assert frozen.layers[-1].name == "conv1"


@pytest.mark.parametrize(
    ("unfreeze", "says"),
    [
        ("2:conv_2", "Received: conv_2. The nearest is conv2; all are means, conv1, conv2, conv3"),
        ("2:conv3", "Received: conv3, which trains from the start, with freeze_layers=4"),
    ],
)
def test_layer_that_cannot_be_unfrozen_is_refused(unfreeze: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        build(config_of(unfreeze=unfreeze))


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_layer_changes_from_its_step_on_and_not_before(optimizer: str, precision: str) -> None:
    config = config_of(
        unfreeze="3:conv2", optimizer=optimizer, precision=precision, weight_decay=0.01
    )
    model = build(config, steps_per_epoch=1)
    before = model.get_weights()
    step(model, 2)
    assert moved(model, before) == {"conv3", "dense", "probabilities"}
    before = model.get_weights()
    step(model)
    assert moved(model, before) == {"conv2", "conv3", "dense", "probabilities"}


@pytest.mark.parametrize(
    ("optimizer", "decay"), [("sgd", None), ("sgd", 0.1), ("adamw", None), ("adamw", 0.1)]
)
def test_layerwise_optimizer_at_one_rate_is_keras_own(optimizer: str, decay: float | None) -> None:
    ends = []
    for options in ({}, {"ema": 0.5}):  # The average leaves the weights alone.
        model = build(config_of(optimizer=optimizer, weight_decay=decay, **options))
        step(model, 3)
        ends.append(model.get_weights())
    for plain, layerwise in zip(*ends, strict=True):
        np.testing.assert_array_equal(plain, layerwise)


def test_default_recipe_has_keras_own_optimizer() -> None:
    assert type(build(config_of()).optimizer) is keras.optimizers.SGD


def values_of(variables: list[keras.Variable]) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_model_has_the_average_inside_and_its_checkpoint_stays(precision: str) -> None:
    model = build(config_of(ema=0.75, precision=precision))
    start = values_of(model.trainable_weights)
    with averaged(model):  # Before the first step there is none.
        assert_equal(values_of(model.trainable_weights), start)
    expected: list[np.ndarray] = []
    for _ in range(3):
        step(model)
        own = values_of(model.trainable_weights)
        means = [0.75 * a + 0.25 * b for a, b in zip(expected, own, strict=False)]
        expected = means or own
    before = values_of(variables(model))
    with averaged(model):
        for weight, mean in zip(model.trainable_weights, expected, strict=True):
            np.testing.assert_allclose(weight.numpy(), mean, rtol=1e-5, atol=1e-6)
        assert_equal(values_of(variables(model)), before)
    assert_equal(values_of(model.trainable_weights), own)
    assert_equal(values_of(variables(model)), before)


def assert_equal(arrays: list[np.ndarray], others: list[np.ndarray]) -> None:
    for a, b in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(a, b)
