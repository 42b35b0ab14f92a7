"""The workdir of a trained run, made in no time: a tiny model with random weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CLASSES = ("cat", "dog", "zebra")


def write(
    workdir: Path,
    *,
    classes: Sequence[str] = CLASSES,
    size: int = 96,
    image_size: int = 128,
    digest: str = "0" * 64,
    **recipe: Any,
) -> Path:
    """Writes what prediction needs of a run, and returns its folder.

    Args:
        recipe: Settings of the run other than the defaults.
    """
    import keras

    keras.utils.set_random_seed(0)
    images = keras.Input((size, size, 3), name="images")
    x = keras.layers.Rescaling(1 / 255, name="scale")(images)
    x = keras.layers.AveragePooling2D(size // 8, name="means")(x)
    x = keras.layers.Conv2D(6, 3, activation="relu", padding="same", name="conv1")(x)
    x = keras.layers.GlobalAveragePooling2D(name="gap")(x)
    # Large weights, so that photographs of other colours have other probabilities.
    wide = keras.initializers.RandomNormal(stddev=3.0, seed=1)
    x = keras.layers.Dense(
        len(classes), "softmax", kernel_initializer=wide, name="probabilities"
    )(x)  # fmt: skip
    workdir.mkdir(parents=True, exist_ok=True)
    keras.Model(images, x).save(workdir / "model.keras")
    data = {"digest": digest, "classes": list(classes), "image_size": image_size}
    content = {"recipe": {"epochs": 1, "input_size": size, **recipe}, "data": data}
    (workdir / "config.json").write_text(json.dumps(content))
    (workdir / "classes.json").write_text(json.dumps(list(classes)))
    return workdir
