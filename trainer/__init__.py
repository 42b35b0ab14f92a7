"""Transfer learning: from shards to a trained, evaluated, saved model."""

from typing import TYPE_CHECKING, Any

from trainer import workarounds

if TYPE_CHECKING:
    from trainer.inference.classifier import Classifier

__all__ = ["Classifier"]

workarounds.use_onednn()  # TensorFlow reads it as it starts, whoever imports it.


def __getattr__(name: str) -> Any:
    """Imports what needs TensorFlow, which takes seconds, once it is asked for."""
    if name != "Classifier":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainer import keras_settings

    keras_settings.import_keras(find_devices=True)
    from trainer.inference.classifier import Classifier

    return Classifier
