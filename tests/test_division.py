"""Where a model is divided, also one whose graph has branches."""

import dataclasses

import keras
import numpy as np
import pytest

from trainer.model.backbone import VGG16
from trainer.model.classifier import build_model
from trainer.model.division import cut
from trainer.model.head import Head

RGB = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)


def branching(images: keras.KerasTensor) -> keras.Model:
    """A stem, a residual block of two convolutions, and two branches that are joined.

    Layers by position: 1 stem, 2 pool, 3 and 4 residual, 5 sum, 6 pooled, 7 wide, 8 narrow,
    9 joined.
    """

    def conv(name: str, size: int = 3) -> keras.layers.Conv2D:
        return keras.layers.Conv2D(4, size, padding="same", activation="relu", name=name)

    x = keras.layers.AveragePooling2D(8, name="pool")(conv("stem")(images))
    x = keras.layers.Add(name="sum")([x, conv("residual_2")(conv("residual_1")(x))])
    pooled = keras.layers.MaxPooling2D(3, strides=1, padding="same", name="pooled")(x)
    x = keras.layers.Concatenate(name="joined")([conv("wide", 5)(pooled), conv("narrow", 1)(x)])
    return keras.Model(keras.utils.get_source_inputs(images), x)


BRANCHING = dataclasses.replace(VGG16, name="branching", network=branching)
LAYERS = [
    "images", "stem", "pool", "residual_1", "residual_2", "sum", "pooled", "wide", "narrow",
    "joined",
]  # fmt: skip


def build(freeze_layers: int, **options: object) -> keras.Model:
    return build_model(
        3,
        backbone=BRANCHING,
        input_size=96,
        freeze_layers=freeze_layers,
        **{"head": Head("gap"), **options},
    )


def test_layers_are_frozen_by_their_position_in_the_backbone() -> None:
    assert [layer.name for layer in branching(keras.Input((96, 96, 3), name="images")).layers] == (
        LAYERS
    )
    for count in range(len(LAYERS) + 1):
        trained = {layer.name for layer in build(count).layers if layer.trainable_weights}
        frozen = {"stem", "residual_1", "residual_2", "wide", "narrow"} - trained
        assert frozen == frozen & set(LAYERS[:count])
        assert trained == trained & {*LAYERS[count:], "dense", "probabilities"}


@pytest.mark.parametrize(
    ("freeze_layers", "last"),
    [
        (0, "minus_means"),
        (2, "pool"),
        (5, "sum"),  # Not inside the block, whose shortcut leads round its layers.
        (7, "sum"),  # What is pooled has no weights: the rest may compute it.
        (9, "gap"),
        (10, "gap"),
    ],
)
def test_graph_with_branches_is_cut_at_the_last_tensor_that_all_ways_lead_through(
    freeze_layers: int, last: str
) -> None:
    model = build(freeze_layers)
    frozen, rest = cut(model)
    assert frozen.layers[-1].name == last
    assert not any(layer.trainable_weights for layer in frozen.layers)
    assert all(layer.trainable_weights for layer in rest.layers if layer.weights)
    np.testing.assert_array_equal(rest(frozen(RGB)), model(RGB))


@pytest.mark.parametrize(
    ("norm", "before_head", "last"),
    [
        ("none", False, "gap"),  # And not dropout, which draws anew in each step.
        ("l2", False, "unit_length"),
        ("standardize", False, "gap"),
        ("l2", True, "joined"),  # One feature map for all heads.
    ],
)
def test_linear_head_is_cut_where_what_is_drawn_or_fitted_begins(
    norm: str, before_head: bool, last: str
) -> None:
    model = build(10, head=Head("gap", norm=norm, units=0))
    frozen, rest = cut(model, before_head=before_head)
    assert frozen.layers[-1].name == last
    np.testing.assert_array_equal(rest(frozen(RGB)), model(RGB))


@pytest.mark.parametrize(
    ("freeze_layers", "frozen", "trains"),
    [(4, "residual_1", "residual_2"), (8, "wide", "narrow")],
)
def test_frozen_layer_beside_one_that_trains_is_refused(
    freeze_layers: int, frozen: str, trains: str
) -> None:
    with pytest.raises(
        ValueError, match=f"No single tensor .* Received: {frozen}, frozen, .* beside {trains}"
    ):
        cut(build(freeze_layers))


def test_branches_take_precision_and_are_saved_with_plain_layers() -> None:
    model = build(5, precision="mixed_bfloat16")
    assert model.get_layer("residual_2").dtype_policy.name == "mixed_bfloat16"
    plain = build(5, for_training=False)
    plain.set_weights(build(5).get_weights())
    assert {type(layer).__module__.partition(".")[0] for layer in plain.layers} == {"keras"}


def test_joined_again_frozen_part_and_rest_are_the_model() -> None:
    model = build_model(8, head=Head("gap"))
    frozen, rest = cut(model)
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    np.testing.assert_array_equal(rest(frozen(images)), model(images))


@pytest.mark.parametrize("norm", ["none", "standardize", "l2"])
def test_dropout_and_what_is_fitted_stand_behind_the_cut(norm: str) -> None:
    """Dropout that were computed once would drop nothing."""
    model = build_model(3, input_size=96, freeze_layers=19, head=Head("gap", norm=norm, units=0))
    _, rest = cut(model)
    names = [layer.name for layer in rest.layers]
    assert "dropout" in names
    assert ("standardize" in names) == (norm == "standardize")
