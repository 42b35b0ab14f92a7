"""The view: what the model sees of a photograph, in training and in evaluation.

Whatever is drawn is a function of (seed, position in the stream), or of the example where views of
it are kept: which replica or worker decodes a photograph does not matter.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.data.augmentation import decode_augmented
from trainer.model.several_views import zoom_margin

# The centre of a photograph: this share of its short side, at any resolution.
_CENTRE_NUMERATOR, _CENTRE_DENOMINATOR = 7, 8

# The padding of --fit=pad: the mean colour of ImageNet, which preprocessing makes about 0.
_PADDING = (124.0, 117.0, 104.0)

# What a crop shows around an animal's box, as a share of its sides.
_MARGIN = 0.15


class Shown(NamedTuple):
    """One of the views of a photograph that can be kept.

    Attributes:
        of: `photograph`, all that the model sees of it; `object`, cut out by its box; `zoomed`, the
            middle of the photograph's square; `draw`, one of `--augment=full`.
        mirrored: Whether left and right change places.
        number: Which draw.
    """

    of: Literal["photograph", "object", "zoomed", "draw"]
    mirrored: bool = False
    number: int = 0


_PHOTOGRAPH, _MIRRORED = Shown("photograph"), Shown("photograph", mirrored=True)
_TEST_VIEWS = {
    "1": (_PHOTOGRAPH,),
    "flip": (_PHOTOGRAPH, _MIRRORED),
    "scales": (_PHOTOGRAPH, _MIRRORED, Shown("zoomed"), Shown("zoomed", mirrored=True)),
}


@dataclasses.dataclass(frozen=True)
class View:
    """How a photograph becomes the square that the model sees.

    Attributes:
        size: Side of the square in pixels.
        augment: What training changes about it: `none`; `flip`, which mirrors half of the
            photographs; `full`, which is `augmentation.decode_augmented`.
        seed: Another one gives other draws.
        draws: Under `full`: how many views of an example are drawn, to be kept; None: another one
            each time.
        fit: What becomes of a photograph that is no square: `crop` takes the centre, `squash`
            changes its aspect, `pad` adds the mean colour.
        object_crops: Whether training also takes the largest animal of each photograph's class, cut
            out by its box.
        test_views: Over which views probabilities are averaged, as --test_views names them.
    """

    size: int = TrainConfig.input_size
    augment: str = TrainConfig.augment
    seed: int = TrainConfig.seed
    draws: int | None = TrainConfig.cache_views
    fit: str = TrainConfig.fit
    object_crops: bool = TrainConfig.object_crops
    test_views: str = TrainConfig.test_views

    @classmethod
    def from_config(cls, config: TrainConfig) -> "View":
        """The view of a run."""
        return cls(
            size=config.input_size,
            augment=config.augment,
            seed=config.seed,
            draws=config.cache_views,
            fit=config.fit,
            object_crops=config.object_crops,
            test_views=config.test_views,
        )

    @property
    def num_views(self) -> int | None:
        """How many views of an example training takes in turn; None: another one each time."""
        return len(self.kept_views) or None

    @property
    def kept_views(self) -> tuple[Shown, ...]:
        """The views of an example that training takes in turn; none: another one each time."""
        if self.augment == "full" and self.draws != 1:
            return tuple(Shown("draw", number=number) for number in range(self.draws or 0))
        if self.augment == "full":
            return (_PHOTOGRAPH,)  # The only view to be kept is the one without draws.
        plain = {"none": (_PHOTOGRAPH,), "flip": (_PHOTOGRAPH, _MIRRORED)}.get(self.augment, ())
        crops = [Shown("object", shown.mirrored) for shown in plain] if self.object_crops else []
        return (*plain, *crops)

    @property
    def tested_views(self) -> tuple[Shown, ...]:
        """The views of an example over which its probabilities are averaged."""
        return _TEST_VIEWS[self.test_views]

    @property
    def dtype(self) -> tf.DType:
        """What the squares are: a zoomed one is not rounded, as it is not in the saved model."""
        is_zoomed = any(shown.of == "zoomed" for shown in self.tested_views)
        return tf.float32 if is_zoomed else tf.uint8

    def description(self) -> dict[str, Any]:
        """All that decides the pixels of the views that are kept, as JSON has it."""
        later = {"fit": self.fit, "object_crops": self.object_crops, "test_views": self.test_views}
        defaults = View()
        return {
            "image_size": self.size,
            "augment": self.augment,
            "num_views": self.num_views,
            "seed_of_views": self.seed if self.augment == "full" else None,
            # Features from before there were these are still good.
            **{name: now for name, now in later.items() if now != getattr(defaults, name)},
        }

    def training(self, jpeg: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """Returns the view at a position of the training stream, RGB uint8 [size, size, 3]."""
        if self.augment == "full":
            return self._draw(jpeg, position)
        image = self.square(jpeg)
        if self.augment == "flip":
            return tf.cond(self.mirrored(position), lambda: tf.reverse(image, [1]), lambda: image)
        return image

    def square(self, jpeg: tf.Tensor) -> tf.Tensor:
        """Returns a whole photograph, fitted to RGB uint8 [size, size, 3], not preprocessed."""
        if self.fit == "crop":
            shape = tf.io.extract_jpeg_shape(jpeg)[:2]
            side = tf.maximum(tf.reduce_min(shape) * _CENTRE_NUMERATOR // _CENTRE_DENOMINATOR, 1)
            return self._fit(_decode(jpeg, tf.concat([(shape - side) // 2, [side, side]], axis=0)))
        return self._fit(tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE"))

    def tested(self, jpeg: tf.Tensor, number: int = 0) -> tf.Tensor:
        """Returns one of the views that probabilities are averaged over, [size, size, 3]."""
        shown = self.tested_views[number]  # Which needs neither a box nor a draw.
        return tf.cast(self._show(shown, jpeg, tf.zeros([4]), tf.zeros([], tf.int64)), self.dtype)

    def mirrored(self, position: tf.Tensor) -> tf.Tensor:
        """Whether `flip` mirrors the example at this position: every second one, drawn."""
        return tf.random.stateless_uniform([], seed=[self.seed, position]) < 0.5

    def stack(
        self, shown: tuple[Shown, ...], jpeg: tf.Tensor, box: tf.Tensor, index: tf.Tensor
    ) -> tf.Tensor:
        """Returns views of an example, RGB [num_views, size, size, 3] of the view's dtype.

        Args:
            shown: Which.
            jpeg: The photograph.
            box: The animal's, float32 [4], as `reader.parse_box` has it.
            index: The example's number in its split, which the draws depend on.
        """
        views = [self._show(each, jpeg, box, index) for each in shown]
        return tf.stack([tf.cast(view, self.dtype) for view in views])

    def in_square(
        self, boxes: np.ndarray, shape: tuple[int, int], mirrored: bool = False
    ) -> np.ndarray:
        """Returns where boxes of a photograph are in its square, in shares of it, float [n, 4].

        Args:
            boxes: First row and column, last row and column, in shares of the photograph.
            shape: The photograph's height and width in pixels.
            mirrored: Whether the square is.
        """
        pixels = boxes * np.tile(shape, 2)
        if self.fit == "squash":
            moved = boxes
        elif self.fit == "pad":
            side = max(shape)
            moved = (pixels + np.tile((side - np.array(shape)) / 2, 2)) / side
        else:
            side = max(min(shape) * _CENTRE_NUMERATOR // _CENTRE_DENOMINATOR, 1)
            moved = (pixels - np.tile((np.array(shape) - side) // 2, 2)) / side
        if not mirrored:
            return moved
        top, left, bottom, right = moved.T
        return np.stack([top, 1 - right, bottom, 1 - left], axis=1)

    def kept_number(self, position: tf.Tensor, index: tf.Tensor, num_examples: int) -> tf.Tensor:
        """Which of its kept views an example of so many has at a position of the stream, int64."""
        if self.augment == "full":
            epoch = position // num_examples
            return (epoch + index) % len(self.kept_views)  # Each in turn; others in each epoch.
        number = tf.zeros([], tf.int64)
        if self.augment == "flip":
            number += tf.cast(self.mirrored(position), tf.int64)
        if self.object_crops:
            cut_out = tf.random.stateless_uniform([], seed=[-1 - self.seed, position]) < 0.5
            number += tf.cast(cut_out, tf.int64) * (len(self.kept_views) // 2)
        return number

    def _show(self, shown: Shown, jpeg: tf.Tensor, box: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        if shown.of == "draw":
            return self._draw(jpeg, index * len(self.kept_views) + shown.number)
        image = self._cut_out(jpeg, box) if shown.of == "object" else self.square(jpeg)
        if shown.of == "zoomed":
            margin = zoom_margin(self.size)
            image = tf.image.resize(image[margin:-margin, margin:-margin], [self.size, self.size])
        return image[:, ::-1] if shown.mirrored else image

    def _cut_out(self, jpeg: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
        """Returns what is in and around a box; under `crop`, as square as the photograph allows."""
        shape = tf.cast(tf.io.extract_jpeg_shape(jpeg)[:2], tf.float32)
        start, end = box[:2] * shape, box[2:] * shape
        sides = (end - start) * (1 + 2 * _MARGIN)
        if self.fit == "crop":
            sides = tf.maximum(sides, tf.reduce_max(sides))
        middle = (start + end) / 2
        first = tf.clip_by_value(tf.floor(middle - sides / 2), 0.0, shape - 1)
        last = tf.clip_by_value(tf.math.ceil(middle + sides / 2), first + 1, shape)
        return self._fit(_decode(jpeg, tf.cast(tf.concat([first, last - first], 0), tf.int32)))

    def _fit(self, image: tf.Tensor) -> tf.Tensor:
        """Makes a square of a decoded image of any shape, uint8 [size, size, 3]."""
        side, height, width = self.size, tf.shape(image)[0], tf.shape(image)[1]
        is_there = (height == side) & (width == side)
        make = self._pad if self.fit == "pad" else self._squash
        image = tf.cond(is_there, lambda: image, lambda: make(image))
        return tf.ensure_shape(image, [side, side, 3])

    def _draw(self, jpeg: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        return decode_augmented(jpeg, tf.stack([self.seed, number]), self.size)

    def _squash(self, image: tf.Tensor) -> tf.Tensor:
        resized = tf.image.resize(image, [self.size, self.size], antialias=True)
        return tf.saturate_cast(tf.round(resized), tf.uint8)

    def _pad(self, image: tf.Tensor) -> tf.Tensor:
        shape = tf.cast(tf.shape(image)[:2], tf.float32)
        sides = tf.round(shape * (self.size / tf.reduce_max(shape)))
        sides = tf.cast(tf.clip_by_value(sides, 1.0, float(self.size)), tf.int32)
        above = tf.image.resize(image, sides, antialias=True) - tf.constant(_PADDING)
        first = (self.size - sides) // 2
        padded = tf.image.pad_to_bounding_box(above, first[0], first[1], self.size, self.size)
        return tf.saturate_cast(tf.round(padded + tf.constant(_PADDING)), tf.uint8)


def _decode(jpeg: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Decodes a part of a photograph: int32 [4], its first row and column, height and width."""
    return tf.io.decode_and_crop_jpeg(jpeg, window, channels=3, dct_method="INTEGER_ACCURATE")
