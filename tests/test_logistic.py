"""The logistic regression that a linear head starts as."""

import dataclasses

import numpy as np
import pytest
import sklearn.linear_model

from trainer.features import logistic


def rows_of(
    labels: np.ndarray, *, noise: float = 1.0, views: int = 1, length: int = 5
) -> logistic.Rows:
    """Features around a centre for each class; the views of an example are alike."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(max(labels) + 1, length))
    examples = centres[labels] + noise * rng.normal(size=(len(labels), length))
    features = np.concatenate(
        [examples + 0.01 * rng.normal(size=examples.shape) for _ in range(views)]
    )
    numbers = np.arange(len(labels))
    return logistic.Rows(
        features.astype(np.float32), np.tile(labels, views), np.tile(numbers, views)
    )


def probabilities(head: logistic.LinearHead, features: np.ndarray) -> np.ndarray:
    exponentials = np.exp(features @ head.kernel + head.bias)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("num_classes", [2, 3, 8])
def test_head_is_scikit_learns_logistic_regression(num_classes: int) -> None:
    rows = rows_of(np.arange(80) % num_classes)
    head = logistic.fit(rows, num_classes, seed=0)
    peer = sklearn.linear_model.LogisticRegression(C=head.strength, max_iter=1000)
    expected = peer.fit(rows.features, rows.labels).predict_proba(rows.features)
    np.testing.assert_allclose(probabilities(head, rows.features), expected, atol=0.01)


def test_noisy_features_get_a_stronger_penalty() -> None:
    labels = np.arange(90) % 3
    clear, noisy = (logistic.fit(rows_of(labels, noise=n), 3, seed=0) for n in (0.05, 20.0))
    assert noisy.strength < clear.strength
    assert clear.inner_loss < noisy.inner_loss


def test_views_of_a_photograph_are_held_out_together() -> None:
    """Were one view held out and its copy not, labels without a meaning would look learnable."""
    rows = rows_of(np.arange(40) % 2, noise=100.0, views=4, length=60)
    told_apart = dataclasses.replace(rows, groups=np.arange(160))
    honest, leaking = (logistic.fit(each, 2, seed=0) for each in (rows, told_apart))
    assert honest.inner_loss > 0.65
    assert leaking.inner_loss < honest.inner_loss - 0.05


@pytest.mark.parametrize(
    ("labels", "num_classes"),
    [([0, 0, 1, 1, 2], 3), ([0, 0, 0, 2, 2, 2], 3), ([1, 1, 1], 3)],
    ids=["a class of one", "a class of none", "a single class"],
)
def test_few_photographs_are_enough(labels: list[int], num_classes: int) -> None:
    head = logistic.fit(rows_of(np.array(labels), noise=0.1), num_classes, seed=0)
    assert head.kernel.shape == (5, num_classes)
    given = probabilities(head, rows_of(np.array(labels), noise=0.1).features)
    assert np.isfinite(given).all()
    assert set(given.argmax(axis=1)) <= set(labels)


def test_equal_rows_give_equal_bits() -> None:
    rows = rows_of(np.arange(60) % 3, views=2)
    one, two = (logistic.fit(rows, 3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.kernel, two.kernel)


def test_number_that_never_varies_is_left_as_it_is() -> None:
    features = np.array([[1.0, 5.0], [3.0, 5.0]], np.float32)
    mean, variance = logistic.moments(features)
    np.testing.assert_array_equal(mean, [2.0, 5.0])
    np.testing.assert_array_equal(variance, [1.0, 1.0])
