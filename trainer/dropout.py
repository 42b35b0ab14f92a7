"""Dropout whose masks belong to the examples, not to the replicas that happen to hold them."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="coco_animals")
class PerExampleDropout(keras.layers.Dropout):
    """Draws one mask for the global batch; each part of it takes the rows of its own examples.

    Keras's own layer draws the same mask on every replica, so that two replicas train on other
    masks than one. The seed and the step are in the layer's state, and so in a checkpoint.

    Attributes:
        part: Which part of its replica's share of the batch the layer is called on.
        parts: How many parts that share is cut into.
    """

    part: int = 0
    parts: int = 1

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the inputs, [batch, units]; in training some are 0 and the rest scaled up."""
        if not training or self.rate == 0:
            return inputs
        context: Any = tf.distribute.get_replica_context()
        rows, units = keras.ops.shape(inputs)
        total = context.num_replicas_in_sync * self.parts * rows
        start = (context.replica_id_in_sync_group * self.parts + self.part) * rows
        uniform = tf.random.stateless_uniform(
            [total, units],
            seed=tf.cast(self._seed(), tf.int64),
            alg="philox",  # The same bits on a CPU and on a GPU.
        )
        kept = uniform[start : start + rows] >= self.rate
        return tf.where(kept, inputs / (1.0 - self.rate), tf.zeros_like(inputs))

    def _seed(self) -> tf.Tensor:
        """The step's seed; the last part moves on to the next step's."""
        if self.part == self.parts - 1:
            return self.seed_generator.next()
        return self.seed_generator.state.value
