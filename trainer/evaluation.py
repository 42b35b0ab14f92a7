"""Runs a model over a split: each example once, on any number of replicas."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrecords import reader
from trainer import input_pipeline, metrics
from trainer.examples import labels_of
from trainer.predictions import Prediction
from trainer.split import Split

Batches = Callable[..., tf.data.Dataset]  # (split, batch_size, worker) -> padded batches.


def predict_split(
    model: keras.Model,
    split: Split,
    batch_size: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    batches: Batches = input_pipeline.evaluation_batches,
) -> np.ndarray:
    """Returns probabilities, float32 [num_examples, num_classes], in the order of the shards.

    Args:
        model: Compiled or not, under its strategy.
        split: That it is run over.
        batch_size: Global, over all replicas.
        callbacks: Of Keras's `predict`.
        batches: Of the split, as the model takes them.
    """
    probabilities = model.predict(
        distributed_batches(model, split, batch_size, batches),
        steps=math.ceil(split.num_examples / batch_size),
        verbose=0,
        callbacks=list(callbacks),
    )
    return probabilities[: split.num_examples]


def distributed_batches(
    model: keras.Model,
    split: Split,
    batch_size: int,
    batches: Batches = input_pipeline.evaluation_batches,
) -> tf.distribute.DistributedDataset:
    """A split in padded batches, each worker's rows and each replica's under the strategy."""

    def uncounted(worker: tf.distribute.InputContext) -> tf.data.Dataset:
        """Where Keras knows how many there are, it starts to read them again after the last."""
        ds = batches(split, batch_size=batch_size, worker=worker)
        return ds.take_while(lambda _: True)

    return model.distribute_strategy.distribute_datasets_from_function(uncounted)


def figures_of(probabilities: np.ndarray, split: Split) -> dict[str, Any]:
    """Returns the content of metrics.json for what a model said of a split."""
    labels = labels_of(split)
    return {
        "split": split.name,
        **metrics.compute_metrics(labels, probabilities, split.classes),
    }


def sample_predictions(probabilities: np.ndarray, split: Split, count: int) -> list[Prediction]:
    """Returns predictions on photographs spread over the split, in the order of the shards."""
    wanted = np.unique(np.linspace(0, split.num_examples - 1, count).astype(int))
    return _read_predictions(probabilities, split.paths, set(wanted.tolist()))


def _read_predictions(
    probabilities: np.ndarray, paths: Sequence[str], wanted: set[int]
) -> list[Prediction]:
    predictions = []
    for index, serialized in enumerate(reader.read_serialized(paths)):
        if index in wanted:
            example = reader.parse_example(serialized)
            predictions.append(
                Prediction(
                    name=example["image/filename"].numpy().decode(),
                    image=input_pipeline.decode_square(example["image"]).numpy(),
                    probabilities=probabilities[index],
                    label=int(example["label"]),
                )
            )
    return predictions
