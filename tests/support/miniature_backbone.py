"""The miniature of a backbone: a coarse average of the photograph, in VGG16's place.

It imports the trainer alone, wherever that is installed.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from trainer.model.backbone import VGG16, Backbone


def create(prepare: Callable[[], None] = lambda: None, convolutions: int = 0) -> Backbone:
    """Returns the miniature: `means`, and behind it small convolutions, `conv1` and so on.

    Args:
        prepare: Called as it is first built, by when the trainer is imported, which it is in its
            own good time: what a signal does during TensorFlow's import is a matter of tests too.
        convolutions: How many, for tests of what is frozen and what is tuned.
    """
    prepare_once = functools.cache(prepare)

    def shrink(images: Any) -> Any:
        """A feature map of 8 by 8 positions, whatever the size of the photograph."""
        import keras

        prepare_once()
        side = images.shape[1] // 8
        x = keras.layers.AveragePooling2D(side, name="means")(images)
        for number in range(1, convolutions + 1):
            x = keras.layers.Conv2D(
                4, 3, padding="same", activation="relu", name=f"conv{number}",
                kernel_initializer=keras.initializers.GlorotUniform(seed=number),
            )(x)  # fmt: skip
        return keras.Model(keras.utils.get_source_inputs(images), x)

    return dataclasses.replace(
        VGG16, name="miniature", title="The miniature", preprocess=_scale, network=shrink
    )


def _scale(rgb: Any, _: bool) -> Any:
    import keras

    return keras.layers.Rescaling(1 / 255, dtype="float32", name="scale")(rgb)


MINIATURE = create()
