"""Which of a backbone's layers train, and what never does."""

import difflib
from collections.abc import Sequence

import keras

from cli.command import FlagsError
from trainer.model.backbone import Backbone

# Whose own training would see each replica's rows alone, so that an update would be another one on
# another number of them. Fine-tuned networks mostly keep ImageNet's, whatever the batch.
_NEVER_TRAIN = keras.layers.BatchNormalization


def count_frozen(
    backbone: Backbone,
    layers: Sequence[str],
    freeze_layers: int | None = None,
    freeze_until: str | None = None,
) -> int:
    """Returns how many layers of a backbone do not train.

    Args:
        layers: The names of all its layers, its input first.
        freeze_layers: How many were asked for; None: those that are frozen unless it is said.
        freeze_until: The first layer that is to train, in its place.

    Raises:
        FlagsError: if there are not so many, or if none has this name.
    """
    if freeze_until is None:
        backbone.check_count(freeze_layers, len(layers))
        asked = backbone.freeze_layers if freeze_layers is None else freeze_layers
        return len(layers) if asked is None else asked
    if freeze_until not in layers:
        nearest = difflib.get_close_matches(freeze_until, layers, cutoff=0)
        raise FlagsError(
            f"freeze_until must name a layer of {backbone.title}. Received: "
            f"freeze_until={freeze_until!r}. The nearest: {', '.join(nearest)}."
        )
    return layers.index(freeze_until)


def may_train(layer: keras.Layer) -> bool:
    """Whether a layer may train where those around it do: all may but batch normalisation."""
    return not isinstance(layer, _NEVER_TRAIN)


def describe_kept(model: keras.Model) -> str | None:
    """Returns a sentence on what stays as it is among layers that train; None if nothing does.

    Args:
        model: As `classifier.build_model` returns it.
    """
    layers = [model.get_layer(name) for name in model.backbone_layers]
    trained = [i for i, layer in enumerate(layers) if layer.trainable_weights]
    kept = [layer for layer in layers[min(trained, default=len(layers)) :] if not may_train(layer)]
    if not kept:
        return None
    return (
        f"Batch normalisation: {len(kept)} layers among those that train keep their statistics, "
        "scale and shift, as in every frozen layer."
    )


def describe(backbone: Backbone, freeze_layers: int | None, freeze_until: str | None) -> str:
    """Returns which layers do not train, for a person."""
    if freeze_until is not None:
        return f"{backbone.title}'s layers before {freeze_until}"
    count = backbone.freeze_layers if freeze_layers is None else freeze_layers
    return f"{'all' if count is None else f'the first {count}'} of {backbone.title}'s layers"
