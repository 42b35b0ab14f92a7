"""Runs a model over a split: each example once, on any number of replicas."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from etils import epath

from tfrecords import reader
from trainer.data.examples import labels_of
from trainer.data.source import Source
from trainer.data.split import Split
from trainer.data.view import View
from trainer.results import metrics, predictions_file
from trainer.results.predictions import Prediction, mistakes_first


def predict_batches(
    model: keras.Model,
    of_views: Sequence[tf.distribute.DistributedDataset],
    num_examples: int,
    batch_size: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> np.ndarray:
    """Returns probabilities, float32 [num_examples, num_classes], in the order of the shards.

    Args:
        of_views: The batches of a split, which can be predicted on again; the probabilities are the
            means over these views.
        batch_size: The global one, over all replicas.
    """
    probabilities = [
        model.predict(
            batches,
            steps=math.ceil(num_examples / batch_size),
            verbose=0,
            callbacks=list(callbacks),
        )[:num_examples]
        for batches in of_views
    ]
    return probabilities[0] if len(probabilities) == 1 else np.mean(probabilities, axis=0)


def distributed_batches(
    model: keras.Model, source: Source, split: Split, batch_size: int
) -> list[tf.distribute.DistributedDataset]:
    """Each tested view of a split in padded batches, a worker's rows and a replica's of them."""

    def of_view(view: int) -> tf.distribute.DistributedDataset:
        @tf.autograph.experimental.do_not_convert  # There is nothing to convert, which takes time.
        def uncounted(worker: tf.distribute.InputContext) -> tf.data.Dataset:
            """Where Keras knows how many there are, it starts to read them again after the last."""
            ds = source.evaluation_batches(split, batch_size, worker, view)
            return ds.take_while(lambda _: True)

        return model.distribute_strategy.distribute_datasets_from_function(uncounted)

    return [of_view(view) for view in range(len(source.view.tested_views))]


def figures_of(probabilities: np.ndarray, split: Split) -> dict[str, Any]:
    """Returns the content of metrics.json for a model's predictions on a split."""
    labels = labels_of(split)
    return {
        "split": split.name,
        **metrics.compute_metrics(labels, probabilities, split.classes),
    }


def write_predictions(path: epath.Path, probabilities: np.ndarray, split: Split) -> None:
    """Writes the prediction on each example: id, file, label, predicted, a column a class.

    Args:
        path: The CSV file.
        probabilities: float32 [num_examples, num_classes], in the order of the shards.
    """
    numbers = set(split.numbers)
    origins = reader.read_serialized(split.paths).map(reader.parse_origin).as_numpy_iterator()
    own = [origin for number, origin in enumerate(origins) if number in numbers]
    predictions_file.write(
        path,
        predictions_file.Rows(
            ids=[int(origin["image/id"]) for origin in own],
            files=[origin["image/filename"].decode() for origin in own],
            labels=labels_of(split),
            probabilities=probabilities,
        ),
        split.classes,
    )


def choose_predictions(
    probabilities: np.ndarray, split: Split, count: int, view: View
) -> list[Prediction]:
    """Returns predictions on so many examples: the worst mistakes, and what was right.

    Mistakes are at most half of them, unless too little was right; those in which the model was
    most confident, most confident first. The others are spread over the split, in its order.
    """
    labels = labels_of(split)
    predicted = probabilities.argmax(axis=1)
    wrong, right = np.flatnonzero(predicted != labels), np.flatnonzero(predicted == labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]
    worst = worst[: max(count // 2, count - len(right))]
    spread = np.linspace(0, len(right) - 1, min(count - len(worst), len(right))).astype(int)
    shown = {*worst, *right[spread]}
    return mistakes_first(_read_predictions(probabilities, split, shown, view))


def _read_predictions(
    probabilities: np.ndarray, split: Split, wanted: set[int], view: View
) -> list[Prediction]:
    predictions = []
    rows = {split.numbers[row]: row for row in wanted}
    for number, serialized in enumerate(reader.read_serialized(split.paths)):
        if number in rows:
            example = reader.parse_example(serialized)
            predictions.append(
                Prediction(
                    name=example["image/filename"].numpy().decode(),
                    image=view.square(example["image"]).numpy(),
                    probabilities=probabilities[rows[number]],
                    label=int(example["label"]),
                )
            )
    return predictions
