"""Dropout whose masks belong to the examples, not to the replicas that happen to hold them."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="coco_animals")
class PerExampleDropout(keras.layers.Dropout):
    """Draws one mask for the global batch; each replica takes the rows of its own examples.

    Keras's own layer draws the same mask on every replica, so that two replicas train on other
    masks than one. The seed and the step are in the layer's state, and so in a checkpoint.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the inputs, [batch, units]; in training some are 0 and the rest scaled up."""
        if not training or self.rate == 0:
            return inputs
        context: Any = tf.distribute.get_replica_context()
        replicas, rank = context.num_replicas_in_sync, context.replica_id_in_sync_group
        rows, units = keras.ops.shape(inputs)
        uniform = tf.random.stateless_uniform(
            [replicas * rows, units],
            seed=tf.cast(self.seed_generator.next(), tf.int64),
            alg="philox",  # The same bits on a CPU and on a GPU.
        )
        kept = uniform[rank * rows : (rank + 1) * rows] >= self.rate
        return tf.where(kept, inputs / (1.0 - self.rate), tf.zeros_like(inputs))
