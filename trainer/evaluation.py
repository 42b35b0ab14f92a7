"""Runs a model over a split: each example once, on any number of replicas."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from etils import epath

from tfrecords import reader
from tfrecords.manifest import Manifest
from trainer import input_pipeline, metrics
from trainer.predictions import Prediction


class Split(NamedTuple):
    """A split of a dataset: its name, its shards' paths, its number of examples, the classes."""

    name: str
    paths: list[str]
    num_examples: int
    classes: list[str]


def find_split(data_dir: str, manifest: Manifest, name: str) -> Split:
    """Returns a split.

    Raises:
        ValueError: if the dataset has none of this name.
    """
    paths = [str(epath.Path(data_dir) / file) for file in manifest.files(name)]
    return Split(name, paths, manifest.num_examples(name), manifest.classes)


def predict_split(
    model: keras.Model,
    split: Split,
    batch_size: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> np.ndarray:
    """Returns probabilities, float32 [num_examples, num_classes], in the order of the shards."""
    probabilities = model.predict(
        distributed_batches(model, split, batch_size),
        steps=math.ceil(split.num_examples / batch_size),
        verbose=0,
        callbacks=list(callbacks),
    )
    return probabilities[: split.num_examples]


def distributed_batches(
    model: keras.Model, split: Split, batch_size: int
) -> tf.distribute.DistributedDataset:
    """The images of a split, each worker's rows and each replica's under the model's strategy."""
    return model.distribute_strategy.distribute_datasets_from_function(
        lambda worker: input_pipeline.evaluation_batches(
            split.paths,
            num_examples=split.num_examples,
            batch_size=batch_size,
            worker=worker,
        )
    )


def figures_of(probabilities: np.ndarray, split: Split) -> dict[str, Any]:
    """Returns the content of metrics.json for what a model said of a split."""
    labels = input_pipeline.read_labels(split.paths)
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
