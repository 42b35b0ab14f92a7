"""The temperature, a layer of the saved model that makes its probabilities what they say."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

TEMPERATURE = "temperature"
CALIBRATED = "calibrated"
CALIBRATING = (TEMPERATURE, CALIBRATED)
"""Names of the layers that this adds."""

SMALLEST = 1e-30  # What a logarithm is taken of, at least.

_DTYPE = "float32"


def temperature_of(model: "keras.Model") -> float | None:
    """Returns the temperature of a saved model's probabilities; None: they are not calibrated."""
    layer = next((layer for layer in model.layers if layer.name == TEMPERATURE), None)
    return None if layer is None else 1 / layer.scale


def with_temperature(model: "keras.Model", temperature: float | None) -> "keras.Model":
    """Returns a model whose probabilities are those of another one at a temperature.

    The softmax of logits that are divided by a temperature is the softmax of the probabilities'
    logarithms that are: so it stands behind any head, and behind the mean over several views.

    Args:
        model: Images in, probabilities, [batch, num_classes], out.
        temperature: Above 1 they become less sure; None: they stay as they are.
    """
    import keras  # Here: the smallest probability is needed where TensorFlow is not.

    if temperature is None:
        return model
    logs = keras.ops.log(keras.ops.maximum(model.output, SMALLEST))
    scaled = keras.layers.Rescaling(1 / temperature, dtype=_DTYPE, name=TEMPERATURE)(logs)
    probabilities = keras.layers.Softmax(dtype=_DTYPE, name=CALIBRATED)(scaled)
    return keras.Model(model.input, probabilities, name=model.name)
