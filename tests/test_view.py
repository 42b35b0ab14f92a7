"""What the model sees of a photograph, at any size."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.test_source import jpeg
from trainer.data.view import View


def test_square_is_the_centre_of_the_photograph() -> None:
    # 256 high, 400 wide: the centre is 224 square, 16 from the top and 88 from the left.
    photograph = np.random.default_rng(0).integers(0, 256, (32, 50, 3)).repeat(8, 0).repeat(8, 1)
    stored = jpeg(photograph)
    whole = tf.io.decode_jpeg(stored, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    square = View().square(stored).numpy()
    np.testing.assert_array_equal(square, whole[16:240, 88:312])


@pytest.mark.parametrize("size", [96, 224, 320])
@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (64, 48), (700, 512)])
def test_any_photograph_becomes_a_square(shape, size) -> None:
    square = View(size).square(jpeg(np.full((*shape, 3), 77))).numpy()
    assert square.shape == (size, size, 3)
    np.testing.assert_allclose(square, 77, atol=1)


def test_grey_jpeg_becomes_rgb() -> None:
    out = io.BytesIO()
    Image.new("L", (40, 30), 50).save(out, "JPEG")
    np.testing.assert_allclose(View().square(out.getvalue()).numpy(), 50, atol=1)


def blocks() -> bytes:
    """A photograph of large blocks, so that another size shows the same."""
    colours = np.random.default_rng(0).integers(0, 256, (4, 4, 3))
    return jpeg(colours.repeat(96, 0).repeat(96, 1))


@pytest.mark.parametrize("augment", ["none", "flip", "full"])
def test_another_size_shows_the_same_of_a_photograph(augment) -> None:
    """The draws are those of any size: only how many pixels stand for them differs."""
    for position in range(6):
        small, large = (
            View(size, augment, seed=3).training(blocks(), tf.constant(position, tf.int64))
            for size in (96, 192)
        )
        assert small.shape == (96, 96, 3)
        assert large.shape == (192, 192, 3)
        halved = large.numpy().reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
        assert np.abs(halved - small.numpy()).mean() < 6


def test_views_that_are_kept_are_those_of_training() -> None:
    position = tf.constant(5, tf.int64)
    centre, mirrored = View(96, "flip").kept(blocks(), position)
    np.testing.assert_array_equal(centre, View(96).square(blocks()))
    np.testing.assert_array_equal(mirrored, tf.reverse(centre, [1]))
    drawn = View(96, "full", seed=3, draws=3)
    for number, view in enumerate(drawn.kept(blocks(), position)):
        at = tf.constant(15 + number, tf.int64)
        np.testing.assert_array_equal(view, drawn.training(blocks(), at))


def test_augmentation_that_nobody_keeps_views_of_has_no_end_of_them() -> None:
    views = [View(), View(augment="flip"), View(augment="full"), View(augment="full", draws=4)]
    assert [view.num_views for view in views] == [1, 2, None, 4]
    assert View(augment="a new one").num_views is None
