"""The head: pooling, norms, and the saved model's views."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.miniature_backbone import MINIATURE
from trainer.config import TrainConfig
from trainer.data.view import View
from trainer.model import classifier
from trainer.model.head import STANDARDIZE, Head

MAP = np.random.default_rng(0).normal(size=(2, 4, 4, 6)).astype(np.float32)
POOLED = {
    "flatten": MAP.reshape(2, -1),
    "gap": MAP.mean((1, 2)),
    "gmp": MAP.max((1, 2)),
    "gem": np.maximum((np.maximum(MAP, 0) ** 3).mean((1, 2)), 1e-6) ** (1 / 3),
    "gap_gmp": np.concatenate([MAP.mean((1, 2)), MAP.max((1, 2))], axis=1),
}


def vector_of(head: Head) -> np.ndarray:
    """What the last layer of a linear head takes."""
    features = keras.Input(MAP.shape[1:])
    model = keras.Model(features, head.probabilities(features, 3, "float32", for_training=False))
    return keras.Model(features, model.layers[-1].input).predict(MAP, verbose=0)


@pytest.mark.parametrize("pool", POOLED)
def test_pool_is_what_its_name_says(pool: str) -> None:
    vector = vector_of(Head(pool, units=0, dropout=0.0))
    np.testing.assert_allclose(vector, POOLED[pool], rtol=1e-5, atol=1e-5)


def test_norms_of_length_one() -> None:
    mean = POOLED["gap"]
    unit = vector_of(Head("gap", norm="l2", units=0, dropout=0.0))
    np.testing.assert_allclose(unit, mean / np.linalg.norm(mean, axis=1, keepdims=True), rtol=1e-4)
    rooted = np.sign(mean) * np.sqrt(np.abs(mean))
    power = vector_of(Head("gap", norm="power_l2", units=0, dropout=0.0))
    np.testing.assert_allclose(
        power, rooted / np.linalg.norm(rooted, axis=1, keepdims=True), atol=0.02
    )


def test_square_roots_have_a_gradient_at_zero() -> None:
    features = keras.Input((2, 2, 3))
    head = Head("gap", norm="power_l2", units=0, dropout=0.0)
    model = keras.Model(features, head.probabilities(features, 2, "float32", for_training=True))
    images = tf.zeros([1, 2, 2, 3])
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = model(images)[0, 0]
    assert np.isfinite(tape.gradient(loss, images).numpy()).all()


def test_standardization_is_no_weight_that_trains() -> None:
    model = classifier.build_model(
        3, backbone=MINIATURE, freeze_layers=19, head=Head("gap", norm=STANDARDIZE, units=0)
    )
    assert [weight.path.split("/")[0] for weight in model.trainable_weights] == 2 * [
        "probabilities"
    ]


@pytest.mark.parametrize("test_views", ["1", "flip", "scales"])
def test_saved_model_averages_over_the_views_that_are_tested(test_views: str, tmp_path) -> None:
    """The file alone, without the project, gives the mean of the views that a run evaluates."""
    config = TrainConfig(
        data_dir="", workdir="", input_size=96, head="gap_gmp", head_units=0, dropout=0.0,
        feature_norm="standardize", test_views=test_views, freeze_layers=19,
    )  # fmt: skip
    model = classifier.build_model(
        3, backbone=MINIATURE, input_size=96, freeze_layers=19, head=Head.from_config(config)
    )
    classifier.for_inference(model, config, MINIATURE).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects={}, compile=False)
    pixels = np.random.default_rng(1).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    jpeg = tf.io.encode_jpeg(pixels, quality=100)
    view = View(96, fit="squash", test_views=test_views)
    views = np.stack([view.tested(jpeg, n) for n in range(len(view.tested_views))])
    expected = model.predict(views, verbose=0).mean(axis=0)
    assert len(views) == {"1": 1, "flip": 2, "scales": 4}[test_views]
    given = loaded.predict(view.square(jpeg).numpy()[None], verbose=0)[0]
    np.testing.assert_allclose(given, expected, atol=1e-6)
