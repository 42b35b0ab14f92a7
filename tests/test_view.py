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


def kept(view: View, position: tf.Tensor) -> tf.Tensor:
    return view.stack(view.kept_views, blocks(), tf.constant([0.0, 0.0, 1.0, 1.0]), position)


def test_views_that_are_kept_are_those_of_training() -> None:
    position = tf.constant(5, tf.int64)
    square, mirrored = kept(View(96, "flip"), position)
    np.testing.assert_array_equal(square, View(96).square(blocks()))
    np.testing.assert_array_equal(mirrored, tf.reverse(square, [1]))
    drawn = View(96, "full", seed=3, draws=3)
    for number, view in enumerate(kept(drawn, position)):
        at = tf.constant(15 + number, tf.int64)
        np.testing.assert_array_equal(view, drawn.training(blocks(), at))


def test_augmentation_that_nobody_keeps_views_of_has_no_end_of_them() -> None:
    views = [View(), View(augment="flip"), View(augment="full"), View(augment="full", draws=4)]
    assert [view.num_views for view in views] == [1, 2, None, 4]
    assert View(augment="a new one").num_views is None


# A photograph of 100 by 200 pixels: 25 columns red, then green, 25 blue.
WIDE = np.zeros((100, 200, 3), int)
WIDE[:, :25, 0] = WIDE[:, 25:175, 1] = WIDE[:, 175:, 2] = 200


@pytest.mark.parametrize(
    ("fit", "columns"),
    [
        ("crop", {48: "green", 2: "green", 93: "green"}),  # The middle 87.
        ("squash", {2: "red", 48: "green", 93: "blue"}),
        ("pad", {2: "red", 48: "green", 93: "blue"}),
    ],
)
def test_fit_shows_the_centre_or_all_of_a_photograph(fit: str, columns: dict[int, str]) -> None:
    square = View(96, fit=fit).square(jpeg(WIDE)).numpy().astype(int)
    for column, colour in columns.items():
        channel = ("red", "green", "blue").index(colour)
        assert square[48, column, channel] == pytest.approx(200, abs=8)
    top = square[4, 48]
    expected = [124, 117, 104] if fit == "pad" else [0, 200, 0]
    np.testing.assert_allclose(top, expected, atol=8)


def test_padding_keeps_the_aspect() -> None:
    square = View(96, fit="pad").square(jpeg(WIDE)).numpy().astype(int)
    rows = np.flatnonzero(np.abs(square[:, 48] - [124, 117, 104]).max(axis=1) > 30)
    assert len(rows) == 48


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_object_is_cut_out_with_a_margin(fit: str) -> None:
    """The box is the 20 rightmost columns of the blue, at mid-height."""
    view = View(96, fit=fit, object_crops=True)
    box = tf.constant([0.4, 0.9, 0.6, 1.0])
    whole, cut_out = view.stack(view.kept_views, jpeg(WIDE), box, tf.constant(0, tf.int64))
    np.testing.assert_array_equal(whole, view.square(jpeg(WIDE)))
    middle = cut_out.numpy()[40:56, 40:56].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(middle, [0, 0, 200], atol=10)


@pytest.mark.parametrize(
    ("augment", "num_views"), [("none", 2), ("flip", 4)]
)  # fmt: skip
def test_training_takes_every_kept_view_about_as_often(augment: str, num_views: int) -> None:
    view = View(96, augment, object_crops=True)
    numbers = [
        int(view.kept_number(tf.constant(n, tf.int64), tf.constant(0, tf.int64), 10))
        for n in range(200)
    ]
    counts = np.bincount(numbers, minlength=num_views)
    assert len(counts) == view.num_views == num_views
    assert counts.min() > 200 / num_views / 2
    # Which photographs are mirrored does not depend on the crops.
    if augment == "flip":
        plain = View(96, "flip")
        assert [n % 2 for n in numbers] == [
            int(plain.kept_number(tf.constant(n, tf.int64), tf.constant(0, tf.int64), 10))
            for n in range(200)
        ]


@pytest.mark.parametrize(
    ("view", "keys"),
    [
        (View(), set()),
        (
            View(fit="pad", test_views="flip", object_crops=True),
            {"fit", "test_views", "object_crops"},
        ),
    ],
)
def test_description_names_what_is_not_as_it_always_was(view: View, keys: set[str]) -> None:
    assert (
        view.description().keys() - {"image_size", "augment", "num_views", "seed_of_views"} == keys
    )
