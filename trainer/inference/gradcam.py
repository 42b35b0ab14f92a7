"""Heat maps: where on a photograph the model saw what speaks for a class.

Grad-CAM (Selvaraju et al., ICCV 2017) weighs the channels of the last feature map by how much they
raise the class's logit, Grad-CAM++ (Chattopadhay et al., WACV 2018) so that each of several animals
counts. Both work for every backbone and head, but weigh a channel alike in all places. A head
`flatten` does not, and there HiResCAM (Draelos and Carin, arXiv:2011.08891, 2020) is faithful. The
head `places` says itself what each place shows.
"""

from typing import Literal, get_args

import keras
import numpy as np
import tensorflow as tf

from trainer.model.halves import Halves
from trainer.model.head import FLATTEN
from trainer.model.several_views import has_mirror

Method = Literal["gradcam", "gradcam++", "hirescam", "places"]

_BATCH_SIZE = 32


def suited_method(model: keras.Model) -> Method:
    """Returns the method for a model of which nobody names one.

    It is `hirescam` where each place has weights of its own, as with the head `flatten`: `gradcam`
    weighs a channel by its mean over the places, and could light one that says nothing.

    Raises:
        ValueError: if it is no model that a run has trained.
    """
    has_flatten = any(layer.name == FLATTEN for layer in Halves.of(model).head.layers)
    return "hirescam" if has_flatten else "gradcam"


class HeatMaps:
    """Makes heat maps of a model's classes.

    Where the model averages over views, a map is the mean over the photograph and its mirror image;
    the views that zoom in see no other place.

    Attributes:
        method: How they are made.
    """

    def __init__(self, model: keras.Model, method: Method | None = None) -> None:
        """Prepares a method; None: the suited one.

        Raises:
            ValueError: if there is no such method, or none for this model.
        """
        self._halves = Halves.of(model)
        method = method or suited_method(model)
        if method not in get_args(Method):
            raise ValueError(
                f"method must be one of {', '.join(get_args(Method))}. Received: method={method!r}."
            )
        if method == "places" and self._halves.evidence is None:
            raise ValueError(
                "method=places needs a run of --head=places, which says what each place shows. "
                "Received: a run of another head. Take gradcam."
            )
        self.method, self._has_mirror = method, has_mirror(model)
        squares = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)
        classes = tf.TensorSpec([None], tf.int64)
        compute = tf.function(self._maps, autograph=False)
        # Traced here: TensorFlow warns of functions that are traced again, as of another model.
        self._compute = compute.get_concrete_function(squares, classes)

    def of(self, squares: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Returns heat maps, float32 [n, rows, columns] in [0, 1], as coarse as the feature map.

        The hottest place of each is 1. Where nothing speaks for the class, all are 0.

        Args:
            squares: What the model sees, RGB uint8 [n, size, size, 3].
            classes: Index of the class that each is to be explained for, [n].
        """
        shape = self._halves.features.output.shape[1:3]
        maps = [np.zeros([0, *shape], np.float32)]
        for start in range(0, len(squares), _BATCH_SIZE):
            batch = slice(start, start + _BATCH_SIZE)
            of_classes = tf.constant(classes[batch], tf.int64)
            maps.append(self._compute(tf.constant(squares[batch]), of_classes).numpy())
        return np.concatenate(maps)

    def _maps(self, squares: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        maps = self._of_view(squares, classes)
        if self._has_mirror:
            maps += tf.reverse(self._of_view(tf.reverse(squares, [2]), classes), [2])
        highest = tf.reduce_max(maps, axis=[1, 2], keepdims=True)
        return tf.math.divide_no_nan(maps, highest)

    def _of_view(self, squares: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Returns float32 [n, rows, columns], 0 or more."""
        features = tf.cast(self._halves.features(squares, training=False), tf.float32)
        if self.method == "places":
            return self._evidence(features, classes)
        with tf.GradientTape() as tape:  # Of the head alone: the backbone's would take as long.
            tape.watch(features)
            logits = tf.gather(self._halves.logits(features), classes, batch_dims=1)
        gradients = tape.gradient(logits, features)
        weights = {"gradcam": _plain, "gradcam++": _plus_plus, "hirescam": _of_places}
        weighed = weights[self.method](features, gradients) * features
        return tf.nn.relu(tf.reduce_sum(weighed, axis=-1))

    def _evidence(self, features: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        said = self._halves.evidence(features, training=False)  # type: ignore[misc]
        of_class = tf.gather(said, classes, axis=2, batch_dims=1)
        return tf.reshape(of_class, tf.shape(features)[:3])


def _plain(_: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Returns Grad-CAM's weights of the channels, [n, 1, 1, channels]."""
    return tf.reduce_mean(gradients, axis=[1, 2], keepdims=True)


def _plus_plus(features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Returns Grad-CAM++'s weights of the channels, [n, 1, 1, channels], but for a common factor.

    The paper's alpha, g^2 / (2 g^2 + sum(A) g^3), weighs where the gradient g is above 0 alone, and
    is 1 / (2 + sum(A) g) there: nothing is divided by 0. Its A follow a ReLU; others are cut at 0.
    """
    rising = tf.nn.relu(gradients)
    total = tf.reduce_sum(tf.nn.relu(features), axis=[1, 2], keepdims=True)
    return tf.reduce_sum(rising / (2 + total * rising), axis=[1, 2], keepdims=True)


def _of_places(_: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Returns HiResCAM's weights, one for each place and channel: the gradients themselves."""
    return gradients
