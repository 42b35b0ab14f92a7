"""The head: the layers that make probabilities of a backbone's last feature map."""

import dataclasses

import keras

from trainer.config import TrainConfig
from trainer.numerics.dropout import PerExampleDropout

# The layer that is fitted to the training features, and that therefore stands behind them.
STANDARDIZE = "standardize"
DROPOUT = "dropout"
CLASSIFIER = "probabilities"
PLACES = "places"
FLATTEN = "flatten"
STANDARDIZE_PLACES = "standardize_places"
# A head has one of these or more, and each takes the feature map.
TAKES_FEATURES = (FLATTEN, "positive", "around", "gap", "gmp")

_GEM_POWER = 3  # Radenovic et al., Fine-tuning CNN Image Retrieval, TPAMI 2019.
_SMALLEST = 1e-6  # What a root is taken of, at least: its slope at 0 has no end.
_POWER_SOFTNESS = 1e-4
_CERTAINTY = 4.0  # The power by which places weigh; measured in docs/results.md.


@dataclasses.dataclass(frozen=True)
class Head:
    """How a feature map, [batch, height, width, channels], becomes probabilities.

    Attributes:
        pool: How it becomes a vector: `flatten` keeps every position; over the positions, `gap`
            takes the mean, `gmp` the largest, `gem` the cube root of the mean cube, and `gap_gmp`
            mean and largest side by side. `places` is `gap_gmp` whose probabilities are multiplied
            by the evidence of the places that look most like an animal.
        norm: What is done to the vector: `none`; `l2` makes its length 1; `power_l2` takes signed
            square roots before (Perronnin et al., Improving the Fisher Kernel, ECCV 2010);
            `standardize` gives each number mean 0 and variance 1 over the training features.
        units: Of the hidden layer; 0: there is none, and the classifier is linear.
        dropout: Share of what the last layer takes that training sets to 0, in [0, 1).
        seed: Decides initial weights and dropout.
    """

    pool: str = TrainConfig.head
    norm: str = TrainConfig.feature_norm
    units: int = TrainConfig.head_units
    dropout: float = TrainConfig.dropout
    seed: int = TrainConfig.seed

    @classmethod
    def from_config(cls, config: TrainConfig) -> "Head":
        """The head of a run."""
        return cls(
            pool=config.head,
            norm=config.feature_norm,
            units=config.head_units,
            dropout=config.dropout,
            seed=config.seed,
        )

    def probabilities(
        self, features: keras.KerasTensor, num_classes: int, precision: str, for_training: bool
    ) -> keras.KerasTensor:
        """Returns float32 [batch, num_classes].

        Args:
            features: The feature map.
            num_classes: Size of the softmax.
            precision: Keras's dtype policy of all before the softmax.
            for_training: Whether dropout is what no number of replicas changes, or Keras's own.
        """
        dropout = PerExampleDropout if for_training else keras.layers.Dropout
        glorot = keras.initializers.GlorotUniform
        x = self._normalize(_pool(self.pool, features, precision))
        if self.units:
            x = keras.layers.Dense(
                self.units, "relu", kernel_initializer=glorot(self.seed), dtype=precision,
                name="dense",
            )(x)  # fmt: skip
        if self.dropout:
            x = dropout(self.dropout, seed=self.seed, dtype=precision, name=DROPOUT)(x)
        probabilities = keras.layers.Dense(
            num_classes,
            "softmax",
            kernel_initializer=glorot(self.seed + 1),
            dtype="float32",
            name=CLASSIFIER,
        )(x)
        if self.pool != PLACES:
            return probabilities
        return _geometric_mean(probabilities, _evidence(features, num_classes, self.seed))

    def _normalize(self, vector: keras.KerasTensor) -> keras.KerasTensor:
        if self.norm == "none":
            return vector
        if self.norm == STANDARDIZE:
            return _standardize(STANDARDIZE)(vector)
        if self.norm == "power_l2":
            softened = keras.ops.sqrt(keras.ops.abs(vector) + _POWER_SOFTNESS)
            vector = keras.ops.divide(vector, softened)
        return keras.layers.UnitNormalization(dtype="float32", name="unit_length")(vector)


def _pool(pool: str, features: keras.KerasTensor, precision: str) -> keras.KerasTensor:
    """Returns the vector, [batch, length], that a feature map becomes."""
    if pool == FLATTEN:
        return keras.layers.Flatten(dtype=precision, name=FLATTEN)(features)
    if pool == "gem":
        return _generalized_mean(features, precision)
    average = keras.layers.GlobalAveragePooling2D(dtype=precision, name="gap")
    largest = keras.layers.GlobalMaxPooling2D(dtype=precision, name="gmp")
    if pool in ("gap_gmp", PLACES):
        both = keras.layers.Concatenate(dtype=precision, name="gap_gmp")
        return both([average(features), largest(features)])
    return {"gap": average, "gmp": largest}[pool](features)


def _generalized_mean(features: keras.KerasTensor, precision: str) -> keras.KerasTensor:
    positive = keras.layers.ReLU(dtype=precision, name="positive")(features)
    cubes = keras.layers.Multiply(dtype="float32", name="cubes")([positive] * _GEM_POWER)
    mean = keras.layers.GlobalAveragePooling2D(dtype="float32", name="gem")(cubes)
    return keras.ops.power(keras.ops.maximum(mean, _SMALLEST), 1 / _GEM_POWER)


def _evidence(features: keras.KerasTensor, num_classes: int, seed: int) -> keras.KerasTensor:
    """Returns what the places say of each class, float32 [batch, num_classes], above 0.

    Each place of the feature map is classified by itself, as one of the classes or background; what
    the places say of the classes is averaged, those that are most certain of one weighing most.
    """
    around = keras.layers.AveragePooling2D(3, 1, "same", dtype="float32", name="around")
    places = _standardize(STANDARDIZE_PLACES)(around(features))
    said = keras.layers.Conv2D(
        num_classes + 1, 1, activation="softmax", dtype="float32", name=PLACES,
        kernel_initializer=keras.initializers.GlorotUniform(seed + 2),
    )(places)  # fmt: skip
    said = keras.layers.Reshape((-1, num_classes + 1), dtype="float32", name="list_places")(said)
    of_classes = said[:, :, :num_classes]  # Without background.
    largest = keras.layers.GlobalMaxPooling1D(  # Over the classes, which it takes for steps.
        data_format="channels_first", keepdims=True, dtype="float32", name="certainty"
    )
    weights = keras.ops.power(largest(of_classes), _CERTAINTY)
    weighed = keras.layers.Multiply(dtype="float32", name="weigh")([weights, of_classes])
    mean = keras.layers.GlobalAveragePooling1D(dtype="float32", name="evidence")
    return keras.ops.add(mean(weighed), _SMALLEST)


def _geometric_mean(one: keras.KerasTensor, other: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the probabilities that are the root of a product, made to add up to 1."""
    logs = [keras.ops.log(keras.ops.maximum(p, _SMALLEST)) for p in (one, other)]
    mean = keras.layers.Average(dtype="float32", name="mean_logarithm")(logs)
    return keras.layers.Softmax(dtype="float32", name="product")(mean)


def _standardize(name: str) -> keras.Layer:
    """Returns a shift and a scale of each channel, which are fitted to training features.

    It is batch normalisation in inference mode, so that Keras's own layer stores it.
    """
    layer = keras.layers.BatchNormalization(
        center=False, scale=False, epsilon=1e-6, dtype="float32", name=name
    )
    layer.trainable = False
    return layer
