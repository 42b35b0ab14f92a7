"""A miniature of a backbone with weights: three small convolutions, to freeze and to tune.

`python tests/support/deep_miniature.py FLAGS` is `python -m trainer.main FLAGS` with it.
"""

import dataclasses
from typing import Any

from tests.support import miniature_backbone

LAYERS = ("pool", "conv1", "conv2", "conv3")  # Positions 1 to 4.
SCRIPT = (__file__,)


def _network(images: Any) -> Any:
    import keras

    x = keras.layers.AveragePooling2D(images.shape[1] // 8, name="pool")(images)
    for number, name in enumerate(LAYERS[1:]):
        initial = keras.initializers.GlorotUniform(seed=number)
        x = keras.layers.Conv2D(
            4, 3, padding="same", activation="relu", kernel_initializer=initial, name=name
        )(x)
    return keras.Model(keras.utils.get_source_inputs(images), x)


DEEP = dataclasses.replace(
    miniature_backbone.MINIATURE, name="deep", title="The deep miniature", network=_network
)

if __name__ == "__main__":
    import trainer.main

    trainer.main.run(DEEP)
