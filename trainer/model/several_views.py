"""Test-time views inside the saved model, whose probabilities are means over several of an image.

So whoever loads the file averages as the run's own evaluation did.
"""

import keras
import numpy as np

_DTYPE = "float32"
_MIRROR = "mirror"


def zoom_margin(size: int) -> int:
    """Pixels cut off each side of a square before it is enlarged again, for its zoomed view."""
    return size // 10


def averaged_over(model: keras.Model, test_views: str) -> keras.Model:
    """Returns a model of the mean probabilities over views of an image, made of Keras's layers.

    Args:
        model: Images, [batch, size, size, 3], in; probabilities out.
        test_views: `1`, for the model itself, `flip` or `scales`, as --test_views names them.
    """
    if test_views == "1":
        return model
    size = model.input_shape[1]
    images = keras.Input((size, size, 3), name="images")
    mirror = _mirror(size)
    views = [images, mirror(images)]
    if test_views == "scales":
        middle = keras.layers.Cropping2D(zoom_margin(size), dtype=_DTYPE, name="middle")(images)
        zoomed = keras.layers.Resizing(size, size, dtype=_DTYPE, name="zoomed")(middle)
        views += [zoomed, mirror(zoomed)]
    mean = keras.layers.Average(dtype=_DTYPE, name="mean")([model(view) for view in views])
    averaged = keras.Model(images, mean, name=f"{model.name}_over_views")
    mirror.set_weights([np.eye(size, dtype=_DTYPE)[::-1]])
    return averaged


def has_mirror(model: keras.Model) -> bool:
    """Whether a model's views are also mirrored."""
    return any(
        layer.name == _MIRROR or (isinstance(layer, keras.Model) and has_mirror(layer))
        for layer in model.layers
    )


def _mirror(size: int) -> keras.Layer:
    """Swaps left and right by a matrix: an operation of Keras is stored differently in each."""
    return keras.layers.EinsumDense(
        "bhwc,wv->bhvc", (size, size, 3), dtype=_DTYPE, trainable=False, name=_MIRROR
    )
