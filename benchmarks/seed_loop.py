"""The loop that this project started from: per-batch `model.fit` on numpy arrays.

python benchmarks/seed_loop.py PHOTOGRAPHS WEIGHTS.h5 EPOCHS FREEZE_LAYERS

PHOTOGRAPHS holds train/CLASS/*.jpg and val/CLASS/*.jpg. Every photograph is decoded, resized and
preprocessed each time it is met; validation comes once, after the last epoch.
"""

import random
import sys
from pathlib import Path

import keras
import numpy as np

BATCH_SIZE, SIZE = 32, (224, 224)


def main(photographs: str, weights: str, epochs: str, freeze_layers: str) -> None:
    """Trains, and prints the figures of the last epoch and of the validation split."""
    classes = sorted(path.name for path in (Path(photographs) / "train").iterdir())
    train, val = (sorted((Path(photographs) / split).glob("*/*")) for split in ("train", "val"))

    base = keras.applications.VGG16(include_top=False, weights=weights, input_shape=(*SIZE, 3))
    for layer in base.layers[: int(freeze_layers)]:
        layer.trainable = False
    x = keras.layers.Flatten()(base.output)
    x = keras.layers.Dense(256, activation="relu")(x)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.Dense(len(classes), activation="softmax")(x)
    model = keras.Model(base.input, x)
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate=1e-4, momentum=0.9),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )

    for epoch in range(int(epochs)):
        random.Random(epoch).shuffle(train)
        losses = []
        for start in range(0, len(train), BATCH_SIZE):
            images, labels = read(train[start : start + BATCH_SIZE], classes)
            history = model.fit(images, labels, batch_size=BATCH_SIZE, epochs=1, verbose=0)
            losses += history.history["loss"]
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}", flush=True)
    loss, accuracy = model.evaluate(*read(val, classes), batch_size=BATCH_SIZE, verbose=0)
    print(f"val_loss {loss:.4f} val_accuracy {accuracy:.4f}")


def read(paths: list[Path], classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns VGG's inputs, float32 [n, 224, 224, 3], and one-hot labels, float32 [n, classes]."""
    images = [
        keras.utils.img_to_array(keras.utils.load_img(path, target_size=SIZE)) for path in paths
    ]
    labels = [classes.index(path.parent.name) for path in paths]
    return (
        keras.applications.vgg16.preprocess_input(np.stack(images)),
        keras.utils.to_categorical(labels, len(classes)),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
