"""Winograd's convolutions beside Keras's own."""

import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from cli.flags import options_of
from tests.support import warm
from tests.support.miniature import environment
from trainer.config import TrainConfig
from trainer.model import classifier, memory
from trainer.model.backbone import VGG16
from trainer.model.head import Head
from trainer.numerics import winograd
from trainer.numerics.reproducible_model import ReproducibleModel


def arrays(*shapes: tuple[int, ...]) -> list[tf.Tensor]:
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes]


@pytest.mark.parametrize(
    ("batch", "height", "width", "channels", "filters"),
    [(1, 2, 2, 1, 1), (3, 4, 10, 5, 7), (2, 28, 28, 64, 32)],
)
def test_outputs_and_gradients_are_those_of_a_plain_convolution(
    batch, height, width, channels, filters
) -> None:
    inputs, kernel, upstream = arrays(
        (batch, height, width, channels),
        (3, 3, channels, filters),
        (batch, height, width, filters),
    )

    def outputs_and_gradients(convolve) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = convolve(inputs, kernel)
        return [outputs, *tape.gradient(outputs, [inputs, kernel], upstream)]

    for ours, plain in zip(
        outputs_and_gradients(winograd.convolve),
        outputs_and_gradients(lambda x, w: tf.nn.conv2d(x, w, 1, "SAME")),
        strict=True,
    ):
        assert ours.shape == plain.shape
        np.testing.assert_allclose(ours, plain, atol=2e-6 * np.abs(plain).max())


def test_layer_is_keras_own_with_its_weights_bias_and_activation() -> None:
    options = {"padding": "same", "activation": "relu", "bias_initializer": "random_normal"}
    ours, plain = winograd.WinogradConv2D(6, 3, **options), keras.layers.Conv2D(6, 3, **options)
    [images] = arrays((2, 8, 8, 4))
    plain.build(images.shape)
    ours.build(images.shape)
    ours.set_weights(plain.get_weights())
    np.testing.assert_allclose(ours(images), plain(images), atol=1e-5)
    assert np.any(plain(images) == 0)  # The activation has something to do.


def kinds(**options) -> dict[str, bool]:
    """{convolution: whether it is Winograd's}."""
    model = classifier.build_model(2, head=Head("gap"), **options)
    return {
        layer.name: isinstance(layer, winograd.WinogradConv2D)
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    }


def test_wide_convolutions_that_train_in_float32_are_winograds() -> None:
    assert [name for name, is_ours in kinds(freeze_layers=15).items() if is_ours] == [
        "block5_conv1",
        "block5_conv2",
        "block5_conv3",
    ]
    assert [name for name, is_ours in kinds(freeze_layers=0).items() if not is_ours] == [
        "block1_conv1",
        "block1_conv2",
        "block2_conv1",
        "block2_conv2",
        "block3_conv1",
    ]
    assert not any(kinds(freeze_layers=19).values())
    assert not any(kinds(precision="mixed_bfloat16").values())
    assert not any(kinds(for_training=False).values())
    assert kinds(fast_convolutions="auto") == kinds()
    assert not any(kinds(fast_convolutions="off").values())


def test_gpu_keeps_its_own_convolutions(monkeypatch) -> None:
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [f"{kind}:0"])
    assert not any(kinds().values())


def test_trained_model_and_the_one_saved_predict_the_same() -> None:
    model = classifier.build_model(3, head=Head("gap"))
    saved = classifier.for_inference(model, TrainConfig(data_dir="", workdir="", head="gap"), VGG16)
    rgb = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3)).astype(np.uint8)
    np.testing.assert_allclose(model(rgb), saved(rgb), atol=1e-5)


def test_what_it_works_in_counts_as_memory() -> None:
    def estimate(convolution: type[keras.layers.Conv2D]) -> int:
        images = keras.Input((8, 8, 4))
        x = convolution(6, 3, padding="same")(images)
        model = ReproducibleModel(images, keras.layers.Flatten()(x))
        model.compile("sgd", "mse")
        model.build_training()
        return memory.step_bytes(model, rows=10)

    # Tiles and their gradient, products and theirs: no more than four times 8x8x6 numbers each.
    more = estimate(winograd.WinogradConv2D) - estimate(keras.layers.Conv2D)
    assert 10 * 4 * 4 * 8 * 8 * (4 + 6) <= more <= 10 * 4 * 4 * 8 * 8 * 4 * 6


ON_REPLICAS = """
import sys

from trainer.distribute.strategy import create_strategy
from trainer.numerics.reproducible_model import ReproducibleModel, reproducible_sums
from trainer.workarounds import keep_order_of_sums
from trainer.numerics.winograd import WinogradConv2D

import keras
import numpy as np

replicas, batch_size, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
strategy = create_strategy(0, cpu_replicas=replicas)
keep_order_of_sums()
rng = np.random.default_rng(0)
images = rng.normal(size=(96, 14, 14, 32)).astype(np.float32)
labels = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 96)]
options = {"padding": "same", "activation": "relu"}
with strategy.scope():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((14, 14, 32))
    x = WinogradConv2D(32, 3, **options)(inputs)
    x = WinogradConv2D(32, 3, **options)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = ReproducibleModel(inputs, keras.layers.Dense(3, "softmax")(x))
    loss = keras.losses.CategoricalCrossentropy()
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    model.settle(reproducible_sums(batch_size, replicas))
model.fit(images, labels, batch_size=batch_size, shuffle=False, verbose=0)
np.savez(path, *model.get_weights())
"""


@pytest.mark.parametrize(("batch_size", "replicas"), [(32, (1, 4)), (12, (1, 3))])
def test_replicas_end_at_the_same_bits(batch_size, replicas, tmp_path) -> None:
    def weights(count: int) -> list[np.ndarray]:
        path = tmp_path / f"{count}.npz"
        arguments = [str(count), str(batch_size), str(path)]
        subprocess.run(warm.up([sys.executable, "-c", ON_REPLICAS, *arguments]), check=True)
        return list(np.load(path).values())

    first, *others = map(weights, replicas)
    assert np.ptp(first[0]) > 0
    for other in others:
        for one, several in zip(first, other, strict=True):
            np.testing.assert_array_equal(one, several)


TRAINED = """
import json
import sys

import numpy as np

from trainer import train
from trainer.config import TrainConfig
from trainer.distribute.strategy import create_strategy
from trainer.model import classifier, memory
from trainer.model.backbone import VGG16

import keras

# Winograd's from the first channels on, and images smaller than any that a run may ask for.
classifier._WIDE = 64
SIDE = 32
build_model = train.build_model
train.build_model = lambda *args, **options: build_model(*args, **{**options, "input_size": SIDE})
folder, runs = sys.argv[1], json.loads(sys.argv[2])
strategy = create_strategy(0)
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (8, SIDE, SIDE, 3)).astype(np.uint8)
labels = np.eye(2, dtype=np.float32)[rng.integers(0, 2, 8)]
recipe = {"data_dir": "", "workdir": "", "head": "gap", "batch_size": 4, "freeze_layers": 4}


def run(settings):
    weights, found = None, []
    for setting in settings:
        keras.utils.set_random_seed(0)
        options = recipe if setting == "unset" else {**recipe, "fast_convolutions": setting}
        with strategy.scope():
            model = train.create_model(TrainConfig(**options), 1e-3, {"cat": 1, "dog": 1}, VGG16, 1)
        if weights:
            model.set_weights(weights)
        model.fit(images, labels, batch_size=4, shuffle=False, verbose=0)
        weights = model.get_weights()
        kinds = {type(layer).__name__ for layer in model.layers}
        found.append(["WinogradConv2D" in kinds, memory.step_bytes(model, 100)])
    return weights, found


found = {}
for name, settings in runs.items():
    weights, found[name] = run(settings)
    np.savez(f"{folder}/{name}.npz", *weights)
print(json.dumps(found))
"""
# Each trains two steps, and two more from there for each further setting.
RUNS = {"unset": ["unset"], "auto": ["auto"], "off": ["off"], "changed": ["auto", "off"]}


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a run of `RUNS` ends as.

    Attributes:
        kinds: For each of its settings, whether it found Winograd's convolutions.
        sizes: For each, the estimate of a step's bytes.
    """

    weights: list[np.ndarray]
    kinds: tuple[bool, ...]
    sizes: tuple[int, ...]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    folder = tmp_path_factory.mktemp("trained")
    done = subprocess.run(
        warm.up([sys.executable, "-c", TRAINED, str(folder), json.dumps(RUNS)]),
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {
        name: Trained(list(np.load(folder / f"{name}.npz").values()), *zip(*found, strict=True))
        for name, found in json.loads(done.stdout.splitlines()[-1]).items()
    }


def test_switch_takes_keras_own_convolutions_and_the_memory_of_tiles_away(trained) -> None:
    unset, auto, off = (trained[name] for name in ("unset", "auto", "off"))
    assert (auto.kinds, auto.sizes) == (unset.kinds, unset.sizes)
    assert (auto.kinds, off.kinds) == ((True,), (False,))
    assert off.sizes < auto.sizes
    for one, other in zip(unset.weights, auto.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(auto.weights, off.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    pairs = zip(auto.weights, off.weights, strict=True)
    assert any(np.any(one != other) for one, other in pairs)


def test_run_may_go_on_with_the_other_setting(trained) -> None:
    assert trained["changed"].kinds == (True, False)
    assert all(np.isfinite(weight).all() for weight in trained["changed"].weights)
    recipes = [
        TrainConfig(data_dir="", workdir="", fast_convolutions=setting).settings()
        for setting in options_of(TrainConfig)["fast_convolutions"].choices
    ]
    assert recipes[0] == recipes[1]
