import numpy as np
import pytest
import tensorflow as tf

from trainer.data import mixing

ROWS = 512


@tf.function(reduce_retracing=True)
def _draws(seed: int, places: tf.Tensor) -> tf.Tensor:
    """In one graph, as the input pipeline does it: thousands of rows one by one take long."""
    return tf.map_fn(lambda place: mixing.draw(seed, place), places, tf.float32)


def drawn(rows: int = ROWS, seed: int = 0, start: int = 0) -> np.ndarray:
    places = tf.range(start, start + rows, dtype=tf.int64)
    return _draws(seed, places).numpy()


def mix(mixup: float, cutmix: float, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Mixes pairs of a white image of class 0 and a black one of class 1; 16 pixels a side."""
    white = np.arange(rows) % 2 == 0
    images = np.broadcast_to(np.where(white, 255, 0)[:, None, None, None], (rows, 16, 16, 3))
    labels = np.stack([white, ~white], axis=1)
    mixed, shares = mixing.mixer(mixup, cutmix)(
        tf.constant(images, tf.uint8), tf.constant(labels, tf.float32), tf.constant(drawn(rows))
    )
    return mixed.numpy(), shares.numpy()


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.4, 1.0), (0.0, 0.0)])
def test_label_says_how_much_of_each_photograph_is_there(mixup, cutmix) -> None:
    images, labels = mix(mixup, cutmix)
    assert images.dtype == np.uint8
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)) / 255, labels[:, 0], atol=0.002)
    # What one of a pair gives, the other gets.
    np.testing.assert_allclose(labels[::2], labels[1::2, ::-1], atol=1e-6)


def test_mixup_blends_and_cutmix_swaps_a_box() -> None:
    blended, _ = mix(0.4, 0.0)
    assert (blended == blended[:, :1, :1]).all()  # The same everywhere.
    assert ((blended > 0) & (blended < 255)).any()
    swapped, labels = mix(0.0, 1.0)
    assert set(np.unique(swapped)) == {0, 255}
    for image, label in zip(swapped[::2, :, :, 0], labels[::2], strict=True):
        box = image == 0
        assert box.sum() == box.any(axis=0).sum() * box.any(axis=1).sum()  # A rectangle.
        assert label[1] == pytest.approx(box.mean())
    both, _ = mix(0.4, 1.0)
    flat = (both == both[:, :1, :1]).all(axis=(1, 2, 3))
    assert 0.3 < flat.mean() < 0.8  # Half of them, and boxes too small to hold a pixel's centre.


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 5.0])
def test_shares_follow_the_beta_distribution(alpha) -> None:
    _, labels = mix(alpha, 0.0, rows=4096)
    shares = labels[::2, 0]
    assert np.isfinite(shares).all()
    assert shares.mean() == pytest.approx(0.5, abs=0.04)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_draws_belong_to_the_pairs_place_and_the_seed() -> None:
    found = drawn(64)
    assert (found[::2] == found[1::2]).all()
    assert len(np.unique(found, axis=0)) == 32
    np.testing.assert_array_equal(drawn(16, start=48), found[48:])
    assert (drawn(64, seed=1) != found).any(axis=1).all()
