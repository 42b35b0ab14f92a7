"""Probabilities become what they say, and which class is most probable stays."""

import keras
import numpy as np
import pytest

from trainer.model.temperature import temperature_of, with_temperature
from trainer.results import calibration, pooled


def sure_by(factor: float, count: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from probabilities, and these as a model has them whose logits are too large."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, 4))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(4, p=row) for row in true])
    said = np.exp(factor * logits)
    return labels, (said / said.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_is_the_factor_by_which_logits_are_too_large(factor: float) -> None:
    labels, said = sure_by(factor)
    assert calibration.fit_temperature(labels, said) == pytest.approx(factor, rel=0.15)


def test_calibration_lowers_the_error_on_photographs_that_it_has_not_seen() -> None:
    temperature = calibration.fit_temperature(*sure_by(3.0))
    labels, said = sure_by(3.0, seed=1)
    calibrated = calibration.tempered(said, temperature)
    assert calibrated.dtype == np.float32
    np.testing.assert_allclose(calibrated.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), said.argmax(axis=1))
    before, after = (
        calibration.expected_calibration_error(labels, each) for each in (said, calibrated)
    )
    assert after < before / 3
    assert calibration.brier_score(labels, calibrated) < calibration.brier_score(labels, said)


@pytest.mark.parametrize("count", [1, 5, 60])
def test_model_without_a_mistake_is_not_called_certain(count: int) -> None:
    labels = np.zeros(count, int)
    said = np.repeat([[0.9, 0.1]], count, axis=0)
    calibrated = calibration.tempered(said, calibration.fit_temperature(labels, said))
    assert 0.9 < calibrated[0, 0] < 0.9999


def test_certain_and_wrong_stays_a_number() -> None:
    said = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    temperature = calibration.fit_temperature(np.array([0, 0]), said)
    assert np.isfinite(temperature)
    assert np.isfinite(calibration.tempered(said, temperature)).all()


def test_saved_layer_computes_what_the_figures_are_of() -> None:
    images = keras.Input((2,))
    logits = keras.layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(stddev=9))
    model = keras.Model(images, keras.layers.Softmax()(logits(images)))
    rows = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    said = model.predict(rows, verbose=0)
    found = with_temperature(model, 2.5).predict(rows, verbose=0)
    np.testing.assert_allclose(found, calibration.tempered(said, 2.5), atol=1e-6)
    assert with_temperature(model, None) is model


def test_temperature_of_a_saved_model_gives_the_figures_before_it_back() -> None:
    images = keras.Input((3,))
    model = with_temperature(keras.Model(images, keras.layers.Softmax()(images)), 2.5)
    assert temperature_of(model) == pytest.approx(2.5)
    assert temperature_of(keras.Model(images, images)) is None
    _, said = sure_by(3.0)
    back = calibration.tempered(calibration.tempered(said, 2.5), 1 / 2.5)
    np.testing.assert_allclose(back, said, atol=1e-5)


def test_folds_are_calibrated_by_the_others() -> None:
    """A fold whose labels are swapped changes the others, and not itself."""
    labels, said = sure_by(2.0)
    folds = np.arange(400) % 4
    both = pooled.calibrate(labels, np.stack([said, said]), [folds, folds])
    np.testing.assert_array_equal(both[0], both[1])
    swapped = np.where(folds == 0, (labels + 1) % 4, labels)
    [other] = pooled.calibrate(swapped, said[None], [folds])
    np.testing.assert_array_equal(other[folds == 0], both[0][folds == 0])
    assert (other[folds == 1] != both[0][folds == 1]).any()


def test_bins_of_the_diagram_hold_every_example_once() -> None:
    labels, said = sure_by(1.0)
    bins = calibration.reliability(labels, said)
    assert sum(each["count"] for each in bins) == 400
    right = sum(each["count"] * each["accuracy"] for each in bins) / 400
    assert right == pytest.approx((said.argmax(axis=1) == labels).mean())
    assert all(abs(each["confidence"] - each["accuracy"]) < 0.15 for each in bins)


def test_thresholds_hold_their_precision_and_answer_as_often_as_they_can() -> None:
    confidence = np.repeat([0.99, 0.95, 0.95, 0.9, 0.8, 0.7, 0.6], 8)
    right = np.repeat([True, True, True, False, True, False, True], 8)
    said = np.stack([confidence, 1 - confidence], axis=1)
    rows = calibration.thresholds(np.where(right, 0, 1), said)
    assert [(row["precision"], row["threshold"]) for row in rows] == [
        (0.9, 0.95), (0.95, 0.95), (0.99, None)  # 24 answers cannot show 99 %.
    ]  # fmt: skip
    assert rows[0]["coverage"] == pytest.approx(3 / 7)
    [*_, never] = calibration.thresholds(np.ones(56, int), said)
    assert never == {"precision": 0.99, "threshold": None, "coverage": 0.0}


@pytest.mark.parametrize(
    ("confidence", "share_correct", "expected"),
    [(1.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.75, 0.75, 0.0), (0.9, 0.5, 0.4)],
)
def test_calibration_error_is_the_gap_to_the_truth(confidence, share_correct, expected) -> None:
    labels = np.zeros(100, int)
    right = np.arange(100) < 100 * share_correct
    probabilities = np.where(
        right[:, None], [confidence, 1 - confidence], [1 - confidence, confidence]
    )
    found = calibration.expected_calibration_error(labels, probabilities)
    assert found == pytest.approx(expected, abs=1e-9)
