"""Dropout whose masks belong to the examples, not to the replicas that happen to hold them."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="coco_animals")
class PerExampleDropout(keras.layers.Dropout):
    """Draws one mask for the global batch; each part of it takes the rows of its own examples.

    Keras's own layer draws the same mask on every replica, so that two replicas train on other
    masks than one. The seed and the step are in the layer's state, and so in a checkpoint.

    A step begins with `draw` and ends with `advance`; in between, the layer may be called on any
    part of the rows that were drawn for.

    Attributes:
        part: Index of the part of its replica's rows that the layer is called on next.
    """

    part: int | tf.Tensor = 0

    def draw(self, rows: int, units: int) -> None:
        """Draws the step's mask for a replica's rows of the batch, [rows, units].

        Call it outside of what XLA compiles, whose random numbers are others.
        """
        context: Any = tf.distribute.get_replica_context()
        uniform = tf.random.stateless_uniform(
            [context.num_replicas_in_sync * rows, units],
            seed=tf.cast(self.seed_generator.state.value, tf.int64),
            alg="philox",  # The same bits on a CPU and on a GPU.
        )
        start = context.replica_id_in_sync_group * rows
        self._kept = uniform[start : start + rows] >= self.rate

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the inputs, [batch, units]; in training some are 0 and the rest scaled up."""
        if not training or self.rate == 0:
            return inputs
        kept = tf.slice(self._kept, [self.part * inputs.shape[0], 0], inputs.shape)
        return tf.where(kept, inputs / (1.0 - self.rate), tf.zeros_like(inputs))

    def advance(self) -> None:
        """Moves on to the next step's mask."""
        self.seed_generator.next()
