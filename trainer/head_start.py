"""Fits what of the head is fitted before the first step: standardization, logistic regression."""

import keras
import numpy as np
import tensorflow as tf

from trainer.data.examples import labels_of
from trainer.data.order import numbers_of
from trainer.features import logistic
from trainer.features.source import FeatureSource
from trainer.model.head import CLASSIFIER, DROPOUT, STANDARDIZE
from trainer.model.loss import balanced_weights
from trainer.numerics.reproducible_model import count_parts, in_pieces
from trainer.run import Run


def fit_head(run: Run) -> None:
    """Fits the parts of the head that the config asks for to the training features.

    Every worker computes the same; the chief's numbers are taken, to the bit.
    """
    config, model = run.config, run.model
    if not run.features or not (
        config.head_init == "logistic" or config.feature_norm == STANDARDIZE
    ):
        return
    rows = _rows(run, run.features)
    if config.feature_norm == STANDARDIZE:
        layer = model.get_layer(STANDARDIZE)
        mean, variance = (_of_chief(run, array) for array in logistic.moments(rows.features))
        _assign(run, [layer.moving_mean, layer.moving_variance], [mean, variance])
        rows.features[:] = (rows.features - mean) / np.sqrt(variance + layer.epsilon)
    if config.head_init == "logistic":
        head = logistic.fit(rows, len(run.train_split.classes), config.seed)
        layer = model.get_layer(CLASSIFIER)
        arrays = [_of_chief(run, head.kernel), _of_chief(run, head.bias)]
        _assign(run, [layer.kernel, layer.bias], arrays)
        print(_in_words(head, rows), flush=True)


def _rows(run: Run, features: FeatureSource) -> logistic.Rows:
    """Every kept view of every training example, as the first fitted layer takes it."""
    split = run.train_split
    numbers, labels = numbers_of(split), labels_of(split)
    look_up = features.look_up(split)
    vector = _vector(run, features)
    batch_size = run.config.batch_size
    found = []
    for view in range(features.store.num_views):
        for start in range(0, len(numbers), batch_size):
            batch = np.resize(numbers[start : start + batch_size], batch_size)  # Filled up.
            computed = vector(look_up(tf.constant(batch), tf.fill([batch_size], np.int64(view))))
            found.append(computed.numpy()[: len(numbers) - start])
    views = features.store.num_views
    weights = None
    if run.config.class_weights == "balanced":
        of_classes = balanced_weights(np.bincount(labels, minlength=len(split.classes)).tolist())
        weights = np.tile(np.asarray(of_classes)[labels], views)
    return logistic.Rows(
        np.concatenate(found).astype(np.float32),
        np.tile(labels, views),
        np.tile(np.arange(len(labels)), views),
        weights,
    )


def _vector(run: Run, features: FeatureSource) -> "tf.types.experimental.PolymorphicFunction":
    """Returns what makes of a batch of features the vectors that the head is fitted to.

    The batch is cut as on any number of replicas, so that the bits are the same.
    """
    names = [layer.name for layer in run.model.layers]
    first = next(name for name in (STANDARDIZE, DROPOUT, CLASSIFIER) if name in names)
    model = keras.Model(features.rest.input, run.model.get_layer(first).input)
    parts = count_parts(run.config.batch_size)
    return tf.function(lambda batch: in_pieces(model, batch, parts, run.model.microbatch))


def _assign(run: Run, variables: list[keras.Variable], arrays: list[np.ndarray]) -> None:
    with run.model.distribute_strategy.scope():
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)


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
