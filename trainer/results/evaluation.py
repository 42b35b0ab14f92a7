"""Runs a model over a split: each example once, on any number of replicas."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrecords import reader
from trainer.data import records
from trainer.data.examples import labels_of
from trainer.data.source import Source
from trainer.data.split import Split
from trainer.data.view import View
from trainer.results import calibration, metrics, predictions_file
from trainer.results.predictions import Prediction


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
    photographs = np.array([int(origin["image/id"]) for origin in _origins(split)])
    return {
        "split": split.name,
        **metrics.compute_metrics(labels_of(split), probabilities, split.classes, photographs),
    }


def calibrate(probabilities: np.ndarray, split: Split) -> tuple[float, np.ndarray, dict[str, Any]]:
    """Fits the temperature to a split.

    Returns:
        The temperature; the probabilities at it; the content of metrics.json for these, with
        `temperature`, and in `uncalibrated` the figures that were others before.
    """
    labels = labels_of(split)
    temperature = calibration.fit_temperature(labels, probabilities)
    calibrated = calibration.tempered(probabilities, temperature)
    figures = {
        **figures_of(calibrated, split),
        "temperature": temperature,
        "uncalibrated": metrics.calibration_figures(labels, probabilities),
    }
    return temperature, calibrated, figures


def before_temperature(
    probabilities: np.ndarray, split: Split, temperature: float | None
) -> dict[str, Any]:
    """Returns `temperature` and `uncalibrated` of a model that has its temperature inside.

    Args:
        probabilities: At the temperature, float32 [num_examples, num_classes].
        temperature: None: they are not calibrated, and there is nothing to say.
    """
    if temperature is None:
        return {}
    raw = calibration.tempered(probabilities, 1 / temperature)
    before = metrics.calibration_figures(labels_of(split), raw)
    return {"temperature": temperature, "uncalibrated": before}


def calibration_in_words(figures: Mapping[str, Any]) -> str:
    """Returns what the temperature did, for a person."""
    before = figures["uncalibrated"]
    error = "expected_calibration_error"
    return (
        f"Calibrated at temperature {figures['temperature']:.2f}, fitted to {figures['split']} and "
        f"saved in the model: loss {before['loss']:.4f} before, {figures['loss']:.4f} after; "
        f"calibration error {before[error]:.3f}, {figures[error]:.3f}."
    )


def _origins(split: Split) -> list[dict[str, Any]]:
    """Which photograph each example is of, in the order of the shards."""
    numbers = set(split.numbers)
    origins = records.read_all(split).map(reader.parse_origin).as_numpy_iterator()
    return [origin for number, origin in enumerate(origins) if number in numbers]


def write_predictions(path: Path, probabilities: np.ndarray, split: Split) -> None:
    """Writes the prediction on each example: id, file, label, predicted, a column a class.

    Args:
        path: The CSV file.
        probabilities: float32 [num_examples, num_classes], in the order of the shards.
    """
    own = _origins(split)
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


def read_predictions(
    probabilities: np.ndarray, split: Split, wanted: Collection[int], view: View
) -> dict[int, Prediction]:
    """Returns predictions on some examples of a split, by their places in it.

    Args:
        probabilities: float32 [num_examples, num_classes], in the order of the shards.
        wanted: Places in that order.
        view: What of each photograph is shown.
    """
    found = {}
    rows = {split.numbers[row]: row for row in wanted}
    for number, serialized in enumerate(records.read_all(split)):
        if number in rows:
            example = reader.parse_example(serialized)
            found[rows[number]] = Prediction(
                name=example["image/filename"].numpy().decode(),
                image=view.square(example["image"]).numpy(),
                probabilities=probabilities[rows[number]],
                label=int(example["label"]),
            )
    return found
