"""What the machine needs for the reference recipe: frozen layers once, the rest in each step.

python -m benchmarks.recipe_bound --data_dir=D --epochs=20

Images and features are in memory, and nothing but the arithmetic is timed: no start, no reading,
no metrics, no validation in between, no checkpoints.
"""

import math
import time

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from cli import command, paths
from tfrecords.manifest import read_manifest
from trainer.config import TrainConfig
from trainer.data.source import PhotographSource
from trainer.data.split import find_split
from trainer.model.backbone import VGG16
from trainer.model.classifier import build_model
from trainer.model.division import cut
from trainer.model.weights import load_weights
from trainer.numerics.dropout import PerExampleDropout

FLAGS = flags.FLAGS

paths.define("data_dir", None, "What data_prep.build made.", required=True)
paths.define("weights", TrainConfig.weights, "As trainer.main takes it.")
flags.DEFINE_integer("epochs", TrainConfig.epochs, "Of the training.", lower_bound=1)
flags.DEFINE_integer("freeze_layers", TrainConfig.freeze_layers, "As trainer.main takes it.")
flags.DEFINE_string("precision", TrainConfig.precision, "As trainer.main takes it.")
flags.DEFINE_bool("winograd", False, "The trainer's own convolutions, in place of Keras's.")

_BATCH_SIZE = TrainConfig.batch_size


def main(arguments: list[str]) -> None:
    """Prints the seconds."""
    command.refuse_arguments(arguments)
    manifest = read_manifest(FLAGS.data_dir)
    train, val = (find_split(FLAGS.data_dir, manifest, name) for name in ("train", "val"))
    model = build_model(
        len(manifest.classes),
        freeze_layers=FLAGS.freeze_layers,
        precision=FLAGS.precision,
        for_training=FLAGS.winograd,
    )
    load_weights(model, FLAGS.weights, VGG16)
    frozen, rest = cut(model)
    compute = tf.function(lambda images: frozen(images, training=False))
    step = _step(rest)
    batches = [
        images
        for split in (train, val)
        for images in PhotographSource().evaluation_batches(split, _BATCH_SIZE)
    ]
    labels = tf.one_hot(np.zeros(_BATCH_SIZE, np.int64), len(manifest.classes))
    step(compute(batches[0]), labels)  # Traced, and its memory allocated.

    start = time.perf_counter()
    features = [compute(images) for images in batches]
    steps = FLAGS.epochs * math.ceil(train.num_examples / _BATCH_SIZE)
    for index in range(steps):
        step(features[index % len(features)], labels)
    print(f"seconds: {time.perf_counter() - start:.2f}")


def _step(rest: keras.Model) -> tf.types.experimental.GenericFunction:
    """One update, as plain as it can be."""
    optimizer = keras.optimizers.SGD(1e-4, momentum=0.9)
    optimizer.build(rest.trainable_variables)

    @tf.function
    def step(features: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        for layer in rest.layers:
            if isinstance(layer, PerExampleDropout):
                layer.draw(features.shape[0], layer.input.shape[-1])
        with tf.GradientTape() as tape:
            loss = keras.losses.categorical_crossentropy(labels, rest(features, training=True))
            loss = tf.reduce_mean(loss)
        gradients = tape.gradient(loss, rest.trainable_variables)
        optimizer.apply_gradients(zip(gradients, rest.trainable_variables, strict=True))
        return loss

    return step


if __name__ == "__main__":
    command.run(main)
