import io
import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from trainer.data import augmentation

# Smooth, so that what a resampling changes is small; of three different channels.
_Y, _X = np.mgrid[0:224, 0:224] / 223
PICTURE = (255 * np.stack([_X, (_X + _Y) / 2, 1 - _Y * _X], axis=-1)).astype(np.uint8)
STILL = dict.fromkeys(augmentation._OPERATIONS, 0.0)


def jpeg(rgb: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb.astype(np.uint8)).save(out, "JPEG", quality=100, subsampling=0)
    return out.getvalue()


def view(content: bytes, *seed: int) -> np.ndarray:
    return augmentation.decode_augmented(content, tf.constant(seed, tf.int64), 224).numpy()


def test_equal_seeds_give_equal_views_and_others_give_others() -> None:
    content = jpeg(PICTURE)
    views = [view(content, 0, place) for place in range(12)]
    assert len({image.tobytes() for image in views}) == 12
    np.testing.assert_array_equal(view(content, 0, 7), views[7])
    assert (view(content, 1, 7) != views[7]).any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (64, 48), (700, 512)])
def test_any_photograph_has_a_view(shape) -> None:
    for place in range(5):
        image = view(jpeg(np.full((*shape, 3), 77)), 0, place)
        assert image.shape == (224, 224, 3)
        assert image.dtype == np.uint8


def test_window_is_a_share_of_the_photograph_and_lies_in_it() -> None:
    shape = np.array([300.0, 400.0], np.float32)
    corners = np.array(np.meshgrid(*[[0.0, 0.5, 0.9999999]] * 4)).T.reshape(-1, 4)
    shares, ratios = [], []
    for draws in corners.astype(np.float32):
        top, left, height, width = augmentation._draw_window(tf.constant(shape), draws).numpy()
        assert (np.array([top, left, height, width]) % 1 == 0).all()
        assert min(top, left) >= 0
        assert min(height, width) >= 1
        assert top + height <= 300
        assert left + width <= 400
        shares.append(height * width / shape.prod())
        ratios.append(width / height)
    assert min(shares) == pytest.approx(0.35, abs=0.01)
    assert max(shares) == pytest.approx(1.0, abs=0.01)
    assert min(ratios) == pytest.approx(3 / 4, abs=0.01)
    assert max(ratios) >= 4 / 3


def test_two_operations_are_drawn_each_as_often_as_any_other() -> None:
    draws = tf.random.stateless_uniform([1500, 8], [0, 0]).numpy()
    draws[:, 4:7] = 0.5  # No jitter of the colours.

    @tf.function  # In one graph, as the input pipeline does it.
    def draw_all(draws: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(lambda row: tf.stack([*augmentation._draw_strengths(row).values()]), draws)

    strengths = draw_all(draws).numpy()
    assert (np.count_nonzero(strengths, axis=1) == 2).all()
    assert np.abs(strengths).max() <= 1
    often = np.count_nonzero(strengths, axis=0) / len(strengths)
    np.testing.assert_allclose(often, 2 / len(augmentation._OPERATIONS), atol=0.025)


def moved(mirrored: bool = False, picture: np.ndarray = PICTURE, **strengths: float) -> np.ndarray:
    image = tf.constant(picture, tf.float32)
    return augmentation._move(
        image, {**STILL, **strengths}, tf.constant(mirrored), side=224
    ).numpy()


def test_window_is_resized_and_mirrored_as_it_is() -> None:
    np.testing.assert_allclose(moved(), PICTURE, atol=1e-3)
    np.testing.assert_allclose(moved(mirrored=True), PICTURE[:, ::-1], atol=1e-3)
    small = tf.image.resize(PICTURE, [150, 190])
    whole = moved(picture=small.numpy())
    np.testing.assert_allclose(whole[4:-4, 4:-4], PICTURE[4:-4, 4:-4], atol=2)


@pytest.mark.parametrize(
    ("operation", "matrix"),
    [  # As Pillow takes it: from output to input pixels, about the centre.
        ("rotate", (math.cos(0.349), -math.sin(0.349), 0, math.sin(0.349), math.cos(0.349), 0)),
        ("shear_x", (1, 0.2, 0, 0, 1, 0)),
        ("shear_y", (1, 0, 0, 0.2, 1, 0)),
        ("translate_x", (1, 0, 44.8, 0, 1, 0)),
        ("translate_y", (1, 0, 0, 0, 1, 44.8)),
    ],
)
def test_geometry_is_pillows(operation, matrix) -> None:
    a, b, c, d, e, f = matrix
    c, f = c + 112 - 112 * (a + b), f + 112 - 112 * (d + e)
    expected = Image.fromarray(PICTURE).transform(
        (224, 224), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR,
        fillcolor=(128, 128, 128),
    )  # fmt: skip
    found = moved(**{operation: 1.0})
    differs = np.abs(found - np.asarray(expected)).max(axis=-1) > 2
    assert differs.mean() < 0.02  # Only along the edge, which Pillow does not blend.


def recoloured(**strengths: float) -> np.ndarray:
    image = tf.constant(PICTURE, tf.float32)
    drawn = {name: tf.constant(strength) for name, strength in {**STILL, **strengths}.items()}
    found = augmentation._recolour(image, drawn)
    return np.clip(found.numpy(), 0, 255)


_PILLOW = Image.fromarray(PICTURE)


@pytest.mark.parametrize(
    ("strengths", "expected"),
    [
        ({}, _PILLOW),
        ({"brightness": -1.0}, ImageEnhance.Brightness(_PILLOW).enhance(0.5)),
        ({"contrast": -0.8}, ImageEnhance.Contrast(_PILLOW).enhance(0.6)),
        ({"contrast": 0.8}, ImageEnhance.Contrast(_PILLOW).enhance(1.4)),
        ({"saturation": -1.0}, ImageEnhance.Color(_PILLOW).enhance(0.5)),
        ({"saturation": 1.0}, ImageEnhance.Color(_PILLOW).enhance(1.5)),
        ({"solarize": 1.0}, ImageOps.solarize(_PILLOW, 159)),
        ({"posterize": 1.0}, ImageOps.posterize(_PILLOW, 3)),
        ({"auto_contrast": -1.0}, ImageOps.autocontrast(_PILLOW)),
    ],
)
def test_colours_are_pillows(strengths, expected) -> None:
    np.testing.assert_allclose(recoloured(**strengths), np.asarray(expected), atol=1.5)
