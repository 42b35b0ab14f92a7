"""The halves of a trained model: up to the feature map that its head takes, and the head."""

import dataclasses

import keras
import tensorflow as tf

from trainer.model.head import CLASSIFIER, PLACES, TAKES_FEATURES


@dataclasses.dataclass(frozen=True)
class Halves:
    """A model cut where its head begins; both share its layers, and the weights with them.

    Attributes:
        features: Images, [batch, size, size, 3], to the feature map.
        head: The feature map, [batch, rows, columns, channels], to what the last layer takes.
        last: The layer that makes probabilities of it: dense with a softmax, or a softmax alone.
        evidence: The feature map to what its places say of each class, [batch, rows * columns,
            num_classes], of which the head `places` takes the mean; None: it is another head.
    """

    features: keras.Model
    head: keras.Model
    last: keras.Layer
    evidence: keras.Model | None

    @classmethod
    def of(cls, model: keras.Model) -> "Halves":
        """Cuts a run's model; the mean over views, and what calibrates, are left out.

        Raises:
            ValueError: if it is no model that a run has trained.
        """
        layers = {layer.name: layer for layer in _of_one_view(model).layers}
        features = next((layers[name].input for name in TAKES_FEATURES if name in layers), None)
        if features is None or CLASSIFIER not in layers:
            raise ValueError(
                "The model must be one that a run has trained. Received: one of the layers "
                f"{', '.join(list(layers)[-3:])}. Put the run's own model.keras back."
            )
        is_places = PLACES in layers
        last = layers["product" if is_places else CLASSIFIER]
        return cls(
            features=keras.Model(_of_one_view(model).input, features),
            head=keras.Model(features, last.input),
            last=last,
            evidence=keras.Model(features, layers["weigh"].output) if is_places else None,
        )

    def logits(self, features: tf.Tensor) -> tf.Tensor:
        """Returns what the softmax takes of each class, float32 [batch, num_classes]."""
        x = tf.cast(self.head(features, training=False), tf.float32)
        if not isinstance(self.last, keras.layers.Dense):
            return x
        return tf.matmul(x, self.last.kernel) + self.last.bias


def _of_one_view(model: keras.Model) -> keras.Model:
    """Returns the model of one view, which may be a layer of one that averages over several."""
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    is_inside = inner and all(layer.name != CLASSIFIER for layer in model.layers)
    return _of_one_view(inner[0]) if is_inside else model
