"""Augmentation of training photographs: every draw is a function of (seed, position in the stream).

So it does not matter which replica or worker holds an example, nor whether a run was resumed. An
image is augmented by itself and not with its batch, because its pixels stay in the processor's
cache that way, and because most operations are drawn for a few images alone.
"""

import math

import tensorflow as tf

# Random resized crop (Szegedy et al., Going Deeper with Convolutions, CVPR 2015). Their smallest
# share is 0.08; on few photographs a patch of fur without its animal teaches the wrong thing.
_SMALLEST_SHARE = 0.35
_NARROWEST, _WIDEST = 3 / 4, 4 / 3  # Width by height.

# RandAugment (Cubuk et al., CVPR Workshops 2020): so many of these, each at a drawn strength. Of
# the paper's fourteen, equalize and sharpness are missing: they cost more than decoding does.
_NUM_OPERATIONS = 2
_OPERATIONS = (
    "identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y", "auto_contrast",
    "solarize", "posterize", "brightness", "contrast", "saturation",
)  # fmt: skip
_COLOURS = ("brightness", "contrast", "saturation")  # Of all images (Howard, 2013), a little.
_COLOUR_JITTER = 0.4  # Of an operation's full strength.

# What an operation does at full strength.
_ANGLE = math.radians(20)
_SHEAR = 0.2  # Pixels by pixel.
_TRANSLATION = 0.2  # Of the image's side.
_COLOUR_CHANGE = 0.5  # Of the factor 1.
_SOLARIZED_RANGE = 96.0  # Brightest values that are inverted.
_POSTERIZED_STEP = 32.0  # Between the values that are left: 8 of them.

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as JPEG has it.
_FILL = 128.0  # What shows where the photograph ends, as in RandAugment's reference.
_ALIASING = 1.5  # Shrunk by more than this, an image needs a filter.


def decode_augmented(jpeg: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    """Returns a drawn view of a photograph, RGB uint8 [size, size, 3], for `--augment=full`.

    Only the drawn window is decoded. Its resize, flip, rotation, shear and translation are one
    resampling, so that no step blurs what another one left.

    Args:
        jpeg: The photograph.
        seed: int64 [2]; equal seeds give equal views.
        size: Side of the view in pixels.
    """
    shape = tf.cast(tf.io.extract_jpeg_shape(jpeg)[:2], tf.float32)
    window_draws, draws = tf.split(tf.random.stateless_uniform([13], seed), [5, 8])
    window = _draw_window(shape, window_draws[:4])
    strengths = _draw_strengths(draws)
    image = tf.io.decode_and_crop_jpeg(
        jpeg, tf.cast(window, tf.int32), channels=3, dct_method="INTEGER_ACCURATE"
    )
    image = _shrink(tf.cast(image, tf.float32), size)
    image = _move(image, strengths, mirrored=window_draws[4] < 0.5, side=size)
    image = _recolour(image, strengths)
    return tf.cast(tf.clip_by_value(image, 0.0, 255.0) + 0.5, tf.uint8)


def _draw_window(shape: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Returns (top, left, height, width) in whole pixels of an image [height, width]."""
    share = _SMALLEST_SHARE + draws[0] * (1 - _SMALLEST_SHARE)
    log_ratio = math.log(_NARROWEST) + draws[1] * math.log(_WIDEST / _NARROWEST)
    root = tf.sqrt(tf.reduce_prod(shape) * share)
    wanted = tf.stack([root * tf.exp(-log_ratio / 2), root * tf.exp(log_ratio / 2)])
    size = tf.clip_by_value(tf.round(wanted), 1.0, shape)
    start = tf.floor(draws[2:4] * (shape - size + 1))
    return tf.concat([tf.minimum(start, shape - size), size], axis=0)


def _draw_strengths(draws: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns how strongly each operation applies, in [-1, 1]: 0 for those that were not drawn."""
    count = len(_OPERATIONS)
    first = tf.cast(draws[0] * count, tf.int32)
    second = first + 1 + tf.cast(draws[1] * (count - 1), tf.int32)  # Another one.
    chosen = tf.one_hot(tf.stack([first, second % count]), count)
    drawn = tf.tensordot(2 * draws[2 : 2 + _NUM_OPERATIONS] - 1, chosen, axes=1)
    strengths = dict(zip(_OPERATIONS, tf.unstack(drawn), strict=True))
    for index, name in enumerate(_COLOURS):
        strengths[name] += (2 * draws[4 + index] - 1) * _COLOUR_JITTER
    return strengths


def _shrink(image: tf.Tensor, side: int) -> tf.Tensor:
    """Filters a window that is much larger than the view; others are sampled as they are."""
    large = tf.reduce_min(tf.shape(image)[:2]) > int(side * _ALIASING)
    return tf.cond(
        large,
        lambda: tf.image.resize(image, [side, side], antialias=True),
        lambda: image,
    )


def _move(
    image: tf.Tensor, strengths: dict[str, tf.Tensor], mirrored: tf.Tensor, side: int
) -> tf.Tensor:
    """Samples the image through all geometry at once; float32 [side, side, 3]."""
    angle = _ANGLE * strengths["rotate"]
    cos, sin = tf.cos(angle), tf.sin(angle)
    mirror = tf.where(mirrored, -1.0, 1.0)
    shear_x, shear_y = _SHEAR * strengths["shear_x"], _SHEAR * strengths["shear_y"]
    # Rotation times shear times mirror, of coordinates in [-0.5, 0.5] around the centre.
    xx, xy = mirror * (cos - sin * shear_y), cos * shear_x - sin
    yx, yy = mirror * (sin + cos * shear_y), sin * shear_x + cos
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    # An output pixel's centre lies half a pixel into it, and so does an input pixel's.
    x_step, y_step = width / side, height / side
    centre = (side - 1) / 2
    x_offset = (width - 1) / 2 + width * _TRANSLATION * strengths["translate_x"]
    y_offset = (height - 1) / 2 + height * _TRANSLATION * strengths["translate_y"]
    transform = [
        xx * x_step, xy * x_step, x_offset - centre * x_step * (xx + xy),
        yx * y_step, yy * y_step, y_offset - centre * y_step * (yx + yy),
        0.0, 0.0,
    ]  # fmt: skip
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack(transform)[None],
        output_shape=[side, side],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=_FILL,
    )
    return moved[0]


def _recolour(image: tf.Tensor, strengths: dict[str, tf.Tensor]) -> tf.Tensor:
    """Changes values and not places: float32, of the same shape; may leave [0, 255]."""
    for name, operation in (
        ("auto_contrast", _auto_contrast),
        ("solarize", _solarize),
        ("posterize", _posterize),
    ):
        strength = tf.abs(strengths[name])
        image = tf.cond(strength > 0, lambda: operation(image, strength), lambda: image)  # noqa: B023
    return _change_colours(image, *(1 + _COLOUR_CHANGE * strengths[name] for name in _COLOURS))


def _auto_contrast(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    low = tf.reduce_min(image, axis=(0, 1))
    high = tf.reduce_max(image, axis=(0, 1))
    stretched = (image - low) * (255.0 / tf.maximum(high - low, 1.0))
    return image + strength * (stretched - image)


def _solarize(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    return tf.where(image < 255.0 - _SOLARIZED_RANGE * strength, image, 255.0 - image)


def _posterize(image: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    step = 1.0 + (_POSTERIZED_STEP - 1.0) * strength
    return tf.floor(image / step) * step


def _change_colours(
    image: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor
) -> tf.Tensor:
    """All three factors as one affine map of a colour (Haeberli, Matrix Operations, 1993)."""
    grey = tf.tile(tf.constant(_GREY)[:, None], [1, 3])  # Of a colour, in each channel.
    matrix = brightness * contrast * (saturation * tf.eye(3) + (1 - saturation) * grey)
    mean = tf.tensordot(tf.reduce_mean(image, axis=(0, 1)), tf.constant(_GREY), axes=1)
    return tf.tensordot(image, matrix, axes=1) + brightness * (1 - contrast) * mean
