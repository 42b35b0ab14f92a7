"""The training loss: categorical cross-entropy, its labels smoothed and its classes weighed."""

from collections.abc import Mapping, Sequence

import keras

from trainer.config import TrainConfig


class WeighedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of each example, times the weight of its class; the mean over the batch.

    Args:
        class_weights: One for each class.
        label_smoothing: Share of the label that is spread over all classes, in [0, 1), as in
            Szegedy et al., Rethinking the Inception Architecture, CVPR 2016.
    """

    def __init__(self, class_weights: Sequence[float], label_smoothing: float = 0.0) -> None:
        super().__init__(name="weighed_cross_entropy")
        self._class_weights = list(class_weights)
        self._label_smoothing = label_smoothing

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Returns float32 [batch], from one-hot labels and probabilities [batch, num_classes]."""
        weights = keras.ops.sum(y_true * keras.ops.convert_to_tensor(self._class_weights), axis=-1)
        return weights * keras.losses.categorical_crossentropy(
            y_true, y_pred, label_smoothing=self._label_smoothing
        )


def create_loss(config: TrainConfig, counts: Mapping[str, int]) -> keras.losses.Loss:
    """Returns the loss that a config asks for.

    Args:
        counts: {class: number of training examples}, in the order of the labels.
    """
    if config.class_weights == "balanced":
        return WeighedCrossEntropy(balanced_weights(list(counts.values())), config.label_smoothing)
    return keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing)


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Weights that give every class the same share of the loss; their mean over examples is 1.

    The same as scikit-learn's `compute_class_weight("balanced")`, which wants the labels instead:
    https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html
    A class without examples is never met, and weighs 0.
    """
    present = sum(count > 0 for count in counts)
    return [sum(counts) / (present * count) if count else 0.0 for count in counts]
