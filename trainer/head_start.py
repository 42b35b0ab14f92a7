"""Fits what of the head is fitted before the first step: standardization, logistic regression."""

import dataclasses
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from cli import machine
from tfrecords import reader
from trainer.data import records
from trainer.data.examples import labels_of
from trainer.data.split import Split
from trainer.features import logistic, places
from trainer.features.source import FeatureSource
from trainer.model.head import CLASSIFIER, DROPOUT, PLACES, STANDARDIZE, STANDARDIZE_PLACES
from trainer.model.loss import balanced_weights
from trainer.numerics.reproducible_model import count_parts, in_pieces
from trainer.run import Run

# A float32 that is read, and the float64 copies of all, of a fold's and of what L-BFGS works in.
_BYTES_PER_NUMBER = 4 + 3 * 8

Fit = Callable[..., logistic.LinearHead]


def fit_head(run: Run, remembered: Callable[[Fit], Fit] = lambda fit: fit) -> None:
    """Fits the parts of the head that the config asks for to the training features.

    Every worker computes the same; the chief's numbers are taken, to the bit.

    Args:
        remembered: Makes of a fit of `logistic` one that may know the head of equal rows.
    """
    config, features = run.config, run.features
    if features and (config.head_init == "logistic" or config.feature_norm == STANDARDIZE):
        _fit_vectors(run, features, remembered(logistic.fit))
        if config.head == PLACES:
            _fit_places(run, features, remembered(logistic.fit_at))


def _fit_vectors(run: Run, features: FeatureSource, fit: Fit) -> None:
    """Fits the standardization and the classifier of a photograph's one vector."""
    config, model = run.config, run.model
    rows = _rows(run, features)
    if config.feature_norm == STANDARDIZE:
        rows = _standardize(run, STANDARDIZE, rows)
    if config.head_init == "logistic":
        head = fit(rows, len(run.train_split.classes), config.seed)
        layer = model.get_layer(CLASSIFIER)
        _assign(run, [layer.kernel, layer.bias], [head.kernel, head.bias])
        print(_in_words(head, rows), flush=True)


def _fit_places(run: Run, features: FeatureSource, fit_at: Fit) -> None:
    """Fits the standardization and the classifier of the places of the feature map."""
    config, num_classes = run.config, len(run.train_split.classes)
    look_up = features.look_up(run.train_split)
    compute = _up_to(run, features, STANDARDIZE_PLACES)

    def maps(numbers: np.ndarray, view: int) -> np.ndarray:
        views = tf.fill([len(numbers)], np.int64(view))
        return compute(look_up(tf.constant(numbers), views)).numpy()

    rows = places.rows_of_places(
        run.train_split, features.view, maps, run.train_split.numbers, config.seed
    )
    rows = _standardize(run, STANDARDIZE_PLACES, rows)
    weights = np.append(_weights_of_classes(run), 1.0)[rows.labels]  # Background is no class.
    rows = dataclasses.replace(rows, weights=weights)
    head = fit_at(rows, num_classes + 1, places.STRENGTH)
    layer = run.model.get_layer(PLACES)
    kernel = head.kernel.reshape(layer.kernel.shape)
    _assign(run, [layer.kernel, layer.bias], [kernel, head.bias])
    print(
        f"Places: the logistic regression of {len(rows.labels):,} places in and beside the boxes "
        f"of {len(np.unique(rows.groups)):,} photographs.",
        flush=True,
    )


def _standardize(run: Run, name: str, rows: logistic.Rows) -> logistic.Rows:
    """Fits a layer that standardizes, and returns the rows as it makes them."""
    layer = run.model.get_layer(name)
    mean, variance = logistic.moments(rows.features)
    _assign(run, [layer.moving_mean, layer.moving_variance], [mean, variance])
    features = (rows.features - mean) / np.sqrt(variance + layer.epsilon)
    return dataclasses.replace(rows, features=features)


def _rows(run: Run, features: FeatureSource) -> logistic.Rows:
    """Every kept view of every training example, as the first fitted layer takes it."""
    split, batch_size = run.train_split, run.config.batch_size
    numbers, labels = split.numbers, labels_of(split)
    look_up = features.look_up(split)
    names = [layer.name for layer in run.model.layers]
    first = next(name for name in (STANDARDIZE, DROPOUT, CLASSIFIER) if name in names)
    views = features.store.num_views
    _require_memory(run, first, len(numbers) * views)
    compute = _up_to(run, features, first)
    found = []
    for view in range(views):
        for start in range(0, len(numbers), batch_size):
            batch = np.resize(numbers[start : start + batch_size], batch_size)  # Filled up.
            computed = compute(look_up(tf.constant(batch), tf.fill([batch_size], np.int64(view))))
            found.append(computed.numpy()[: len(numbers) - start])
    return logistic.Rows(
        np.concatenate(found).astype(np.float32),
        np.tile(labels, views),
        np.tile(_photographs(split), views),
        np.tile(_weights_of_classes(run)[labels], views),
    )


def _require_memory(run: Run, name: str, num_rows: int) -> None:
    """Refuses to gather more than memory holds, before it is tried.

    Raises:
        ValueError: if so.
    """
    length = math.prod(run.model.get_layer(name).input.shape[1:])
    needed, free = num_rows * length * _BYTES_PER_NUMBER, machine.free_memory()
    if needed > free:
        raise ValueError(
            "Memory does not hold what the head would be fitted to. Received: "
            f"head={run.config.head}, {num_rows:,} views of {length:,} numbers, which take "
            f"{machine.readable(needed)} of {machine.readable(free)} that are free. "
            "--head=gap_gmp has shorter ones."
        )


def _photographs(split: Split) -> np.ndarray:
    """Returns the id of each example's photograph, int64 [num_examples]: crops of one share it."""
    ds = records.read_all(split).map(lambda s: reader.parse_origin(s)["image/id"])
    return np.fromiter(ds.as_numpy_iterator(), np.int64)[split.numbers]


def _weights_of_classes(run: Run) -> np.ndarray:
    """Returns how much a row of each class weighs, float64 [num_classes]."""
    num_classes = len(run.train_split.classes)
    if run.config.class_weights == "none":
        return np.ones(num_classes)
    counts = np.bincount(labels_of(run.train_split), minlength=num_classes)
    return np.asarray(balanced_weights(counts.tolist()))


def _up_to(
    run: Run, features: FeatureSource, name: str
) -> "tf.types.experimental.PolymorphicFunction":
    """Returns what makes of a batch of features what a layer of the head takes.

    The batch is cut as on any number of replicas, so that the bits are the same.
    """
    stored, wanted = features.frozen.output, run.model.get_layer(name).input
    if wanted is stored:
        return tf.function(lambda batch: batch)
    model = keras.Model(stored, wanted)
    parts = count_parts(run.config.batch_size)
    return tf.function(
        lambda batch: in_pieces(model, batch, math.gcd(parts, batch.shape[0]), run.model.microbatch)
    )


def _assign(run: Run, variables: list[keras.Variable], arrays: list[np.ndarray]) -> None:
    """Sets variables to the chief's arrays."""
    with run.model.distribute_strategy.scope():
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(_of_chief(run, array))


def _of_chief(run: Run, array: np.ndarray) -> np.ndarray:
    """Returns the chief's float32 array, whatever another machine's last bits are."""
    bits = array.astype(np.float32).ravel().view(np.uint32).astype(np.int64)
    joined = run.workers.join(bits if run.workers.is_chief else np.zeros_like(bits))
    return joined.astype(np.uint32).view(np.float32).reshape(array.shape)


def _in_words(head: logistic.LinearHead, rows: logistic.Rows) -> str:
    chosen = (
        "too few photographs of a class to choose it by"
        if head.inner_loss is None
        else f"cross-entropy {head.inner_loss:.3f} over inner folds"
    )
    return (
        f"Head: the logistic regression of {len(rows.labels):,} views of "
        f"{len(np.unique(rows.groups)):,} photographs, C={head.strength:.2g} ({chosen})."
    )
