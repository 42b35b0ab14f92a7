"""The view: what the model sees of a photograph, in training and in evaluation.

Whatever is drawn is a function of (seed, position in the stream), or of the example where views of
it are kept: which replica or worker decodes a photograph does not matter.
"""

import dataclasses
from typing import Any

import tensorflow as tf

from trainer.config import TrainConfig
from trainer.data.augmentation import decode_augmented

# The centre of a photograph: this share of its short side, at any resolution.
_CENTRE_NUMERATOR, _CENTRE_DENOMINATOR = 7, 8


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
    """

    size: int = TrainConfig.input_size
    augment: str = TrainConfig.augment
    seed: int = TrainConfig.seed
    draws: int | None = TrainConfig.cache_views

    @classmethod
    def from_config(cls, config: TrainConfig) -> "View":
        """The view of a run."""
        return cls(config.input_size, config.augment, config.seed, config.cache_views)

    @property
    def num_views(self) -> int | None:
        """How many views of an example training takes in turn; None: another one each time."""
        return {"none": 1, "flip": 2, "full": self.draws}.get(self.augment)

    def description(self) -> dict[str, Any]:
        """All that decides the pixels of the views that are kept, as JSON has it."""
        return {
            "image_size": self.size,
            "augment": self.augment,
            "num_views": self.num_views,
            "seed_of_views": self.seed if self.augment == "full" else None,
        }

    def training(self, jpeg: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """Returns the view at a position of the training stream, RGB uint8 [size, size, 3]."""
        if self.augment == "full":
            return self._draw(jpeg, position)
        image = self.centre(jpeg)
        if self.augment == "flip":
            return tf.cond(self.mirrored(position), lambda: tf.reverse(image, [1]), lambda: image)
        return image

    def centre(self, jpeg: tf.Tensor) -> tf.Tensor:
        """Returns the centre of a photograph, RGB uint8 [size, size, 3], before preprocessing."""
        shape = tf.io.extract_jpeg_shape(jpeg)[:2]
        side = tf.maximum(tf.reduce_min(shape) * _CENTRE_NUMERATOR // _CENTRE_DENOMINATOR, 1)
        window = tf.concat([(shape - side) // 2, [side, side]], axis=0)
        image = tf.io.decode_and_crop_jpeg(jpeg, window, channels=3, dct_method="INTEGER_ACCURATE")
        image = tf.cond(side == self.size, lambda: image, lambda: self._resize(image))
        return tf.ensure_shape(image, [self.size, self.size, 3])

    def mirrored(self, position: tf.Tensor) -> tf.Tensor:
        """Whether `flip` mirrors the example at this position: every second one, drawn."""
        return tf.random.stateless_uniform([], seed=[self.seed, position]) < 0.5

    def kept(self, jpeg: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """Returns all views that training takes of an example, uint8 [num_views, size, size, 3].

        Args:
            jpeg: The photograph.
            index: The example's number in its split, which the draws depend on.
        """
        if self.augment == "full" and self.draws and self.draws > 1:
            numbers = [index * self.draws + view for view in range(self.draws)]
            return tf.stack([self._draw(jpeg, number) for number in numbers])
        image = self.centre(jpeg)
        return tf.stack([image, image[:, ::-1]][: self.num_views])

    def kept_number(self, position: tf.Tensor, index: tf.Tensor, num_examples: int) -> tf.Tensor:
        """Which of its kept views an example of so many has at a position of the stream, int64."""
        if self.augment == "flip":
            return tf.cast(self.mirrored(position), tf.int64)
        assert self.num_views
        epoch = position // num_examples
        return (epoch + index) % self.num_views  # Each in turn; others in each epoch.

    def _draw(self, jpeg: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        return decode_augmented(jpeg, tf.stack([self.seed, number]), self.size)

    def _resize(self, image: tf.Tensor) -> tf.Tensor:
        resized = tf.image.resize(image, [self.size, self.size], antialias=True)
        return tf.saturate_cast(tf.round(resized), tf.uint8)
