"""A model whose update is the same, to the last bit, on one CPU replica, on two and on four.

A gradient summed over 32 examples and one summed over 16 and 16 differ in their last bits, and a
recipe that starts with large losses makes that a difference in the third digit within 20 steps.
So the global batch is always cut into the same parts, and the parts are always added in pairs:
(1 + 2) + (3 + 4), whether one replica computes all four or four compute one each.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.distribution import sum_in_pairs
from trainer.dropout import PerExampleDropout

_PARTS = 4  # Of a global batch.

Forward = Callable[..., tf.Tensor]  # (batch, training) -> probabilities


def parts_per_replica(batch_size: int, num_replicas: int) -> int:
    """How many parts each replica computes; 1 where the batch does not divide."""
    if batch_size % _PARTS or _PARTS % num_replicas:
        return 1
    return _PARTS // num_replicas


class ExactModel(keras.Model):
    """A functional model that computes its gradient part by part, in a fixed order.

    Attributes:
        parts: How many parts a replica's share of the batch is cut into; a power of two.
        forward: What makes probabilities of a batch; unset: the model itself. The layers behind the
            frozen ones, where the batches are features that those have made before.
    """

    parts: int = 1
    forward: Forward | None = None

    def build_training(self) -> None:
        """Builds loss, metrics and optimizer, which `fit` would do from the first batch it sees.

        That may be one of features; and a checkpoint is restored before it.
        """
        self._symbolic_build(data_batch=(self.input, self.output))

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update; called by `fit` on each replica with its share of the batch."""
        images, labels = data
        pieces = zip(tf.split(images, self.parts), tf.split(labels, self.parts), strict=True)
        gradients: list[list[tf.Tensor]] = []
        predictions: list[tf.Tensor] = []
        losses: list[tf.Tensor] = []
        for part, (x, y) in enumerate(pieces):
            gradient, prediction, loss = self._gradient(x, y, part)
            gradients.append(gradient)
            predictions.append(prediction)
            losses.append(loss)
        summed = list(map(sum_in_pairs, zip(*gradients, strict=True)))
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            summed = _overflow_everywhere(summed)  # It is expected, and passed over.
        else:  # Whoever looks at the loss learns of it.
            losses[0] = tf.where(_are_finite(summed), losses[0], math.nan)
        self.optimizer.apply_gradients(zip(summed, self.trainable_variables, strict=True))
        return self._measure(labels, tf.concat(predictions, axis=0), tf.stack(losses))

    def predict_step(self, data: Any) -> tf.Tensor:
        """Returns probabilities; called by `predict` with a replica's share of the batch."""
        [batch] = data if isinstance(data, tuple) else [data]
        return self._predict(batch, training=False)

    def _predict(self, batch: tf.Tensor, *, training: bool) -> tf.Tensor:
        return (self.forward or self)(batch, training=training)

    def _gradient(
        self, images: tf.Tensor, labels: tf.Tensor, part: int
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        for layer in self.layers:
            if isinstance(layer, PerExampleDropout):
                layer.part, layer.parts = part, self.parts
        with tf.GradientTape() as tape:
            prediction = self._predict(images, training=True)
            # Keras has divided by the number of replicas; dividing by 2 or 4 more loses no bit.
            loss = self.compute_loss(images, labels, prediction, training=True)
            share = self.optimizer.scale_loss(loss / self.parts)
        return tape.gradient(share, self.trainable_variables), prediction, loss

    def _measure(
        self, labels: tf.Tensor, predictions: tf.Tensor, losses: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Updates the metrics with the global batch: the same sums on every replica.

        So they do not depend on how many there are, and one replica's are a checkpoint's.
        """
        context: Any = tf.distribute.get_replica_context()
        labels, predictions, losses = (
            context.all_gather(tf.identity(part), axis=0) for part in (labels, predictions, losses)
        )
        loss = sum_in_pairs(tf.unstack(losses, context.num_replicas_in_sync * self.parts))
        self._loss_tracker.update_state(loss / self.parts, tf.shape(labels)[0])
        return self.compute_metrics(None, labels, predictions)

    @property
    def updates(self) -> int:
        """How many steps have changed the weights: all but those that float16 was too small for."""
        return int(keras.ops.convert_to_numpy(self.optimizer.iterations))

    def read_metrics(self) -> list[float]:
        """Returns the state of the metrics, for `write_metrics` on any number of replicas."""
        local = self.distribute_strategy.experimental_local_results
        return [float(local(variable.value)[0]) for variable in self.metrics_variables]

    def write_metrics(self, state: Sequence[float]) -> None:
        """Goes on with metrics that were read before, also where no step has run yet."""
        local = self.distribute_strategy.experimental_local_results
        for variable, value in zip(self.metrics_variables, state, strict=True):
            for replica in local(variable.value):
                replica.assign(value)


def _overflow_everywhere(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Makes an overflow on any replica one on all, so that all of them pass over the step.

    Keras looks at the first replica's gradients alone, before they are added up.
    """
    finite = _are_finite(gradients)
    context: Any = tf.distribute.get_replica_context()
    overflows = context.all_reduce("SUM", tf.where(finite, 0.0, 1.0))
    first, *others = gradients
    return [tf.where(overflows > 0, math.nan, first), *others]


def _are_finite(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
