"""Normalisation by stored means and variances that takes them as they are at each call."""

import keras


@keras.saving.register_keras_serializable(package="coco_animals")
class StoredNormalization(keras.layers.Normalization):
    """Keras's layer, whose variables may be assigned.

    Keras's own computes with what its variables held when it was built: it sees neither weights
    that are loaded into them nor a checkpoint that is restored.
    """

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Returns (inputs - mean) / deviation, in the layer's dtype."""
        self.finalize_state()
        return super().call(inputs)
