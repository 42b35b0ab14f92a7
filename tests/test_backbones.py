"""Networks beside VGG16: a miniature stands for those of keras.applications, with all they have."""

import inspect
import re
from collections.abc import Iterator

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

from cli.command import FlagsError
from trainer.config import TrainConfig
from trainer.model import backbone, classifier, freezing, weights
from trainer.model.backbone import Backbone, named
from trainer.model.division import cut
from trainer.model.head import (
    CLASSIFIER,
    DROPOUT,
    PLACES,
    STANDARDIZE,
    STANDARDIZE_PLACES,
    Head,
)

SIZE = 32
RGB = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)


def miniature(
    include_top: bool, weights: str | None, input_tensor: keras.KerasTensor | None
) -> keras.Model:
    """Pixels normalised inside, a stem in a sequence, and a residual block that begins with
    batch normalisation and may drop itself; names are Keras's own where networks leave them so."""
    assert not include_top
    if weights is not None:
        raise OSError("Name or service not known")
    images = keras.Input((SIZE, SIZE, 3)) if input_tensor is None else input_tensor
    x = keras.layers.Normalization()(keras.layers.Rescaling(1 / 255)(images))
    stem = [keras.layers.Conv2D(4, 4, 4, name="stem"), keras.layers.LayerNormalization(name="norm")]
    shortcut = keras.Sequential(stem, name="sequence")(x)
    x = keras.layers.BatchNormalization()(shortcut)
    x = keras.layers.Conv2D(4, 3, padding="same")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv2D(4, 3, padding="same")(x)
    x = keras.layers.Dropout(0.5, noise_shape=(None, 1, 1, 1), name="drop")(x)
    x = keras.layers.Add()([shortcut, x])
    source = images if input_tensor is None else keras.utils.get_source_inputs(images)
    return keras.Model(source, keras.layers.ReLU(6.0)(x + 3.0) * 0.5)


LAYERS = [
    "images", "rescaling", "normalization", "rescaling_1", "stem", "norm", "batch_normalization",
    "conv2d", "batch_normalization_1", "conv2d_1", "drop", "add", "re_lu",
]  # fmt: skip


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backbone]:
    """The miniature in the place of EfficientNetB0."""
    monkeypatch.setattr(keras.applications, "EfficientNetB0", miniature)
    return named("efficientnetb0")


def build(network: Backbone, **options: object) -> keras.Model:
    options = {"input_size": SIZE, "head": Head("gap"), **options}
    return classifier.build_model(3, backbone=network, **options)


def randomized(model: keras.Model) -> list[np.ndarray]:
    """Numbers for every weight of a model, none of which a variance could not have."""
    rng = np.random.default_rng(1)
    return [rng.uniform(0.1, 0.5, array.shape) for array in model.get_weights()]


def test_every_network_of_keras_is_a_backbone() -> None:
    functions = {
        name.lower()
        for name, function in inspect.getmembers(keras.applications, inspect.isfunction)
        if name[0].isupper()
    }
    assert functions == {*backbone._BACKBONES}


@pytest.mark.parametrize(
    ("name", "module"),
    [("vgg19", "vgg19"), ("resnet50", "resnet50"), ("resnet50v2", "resnet_v2"),
     ("densenet121", "densenet"), ("mobilenetv2", "mobilenet_v2"), ("xception", "xception"),
     ("inceptionv3", "inception_v3"), ("nasnetmobile", "nasnet"), ("convnexttiny", "convnext")],
)  # fmt: skip
@pytest.mark.parametrize("for_training", [True, False])
def test_preprocessing_is_keras_own(name: str, module: str, for_training: bool) -> None:
    images = keras.Input((SIZE, SIZE, 3))
    inside = keras.Model(images, named(name).preprocess(images, for_training))
    expected = getattr(keras.applications, module).preprocess_input(RGB.astype(np.float32))
    np.testing.assert_allclose(inside(RGB), expected, atol=1e-4)


def test_names_of_layers_do_not_depend_on_what_was_built_before(network: Backbone) -> None:
    for _ in range(2):
        names = [layer.name for layer in build(network).layers]
        assert names[: len(LAYERS)] == LAYERS


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, "dense"),
        ({"freeze_layers": len(LAYERS)}, "dense"),
        ({"freeze_layers": 0}, "stem"),
        ({"freeze_layers": 5}, "norm"),
        ({"freeze_until": "conv2d_1"}, "conv2d_1"),
        ({"freeze_until": "batch_normalization"}, "conv2d"),
    ],
)
def test_layers_before_the_one_that_is_named_are_frozen_and_all_unless_said(
    options: dict[str, object], first: str, network: Backbone
) -> None:
    model = build(network, **options)
    assert next(layer.name for layer in model.layers if layer.trainable_weights) == first


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"freeze_until": "conv2_1"}, "freeze_until='conv2_1'. The nearest: conv2d_1, conv2d"),
        ({"freeze_layers": 14}, "between 0 and 13, the layers of EfficientNetB0. Received: freeze"),
    ],
)
def test_layer_that_there_is_not_is_refused(
    options: dict[str, object], says: str, network: Backbone
) -> None:
    with pytest.raises(FlagsError, match=re.escape(says)):
        build(network, **options)


def test_name_of_no_backbone_is_refused_with_the_nearest() -> None:
    with pytest.raises(FlagsError, match=r"backbone='ResNet-50'. The nearest: resnet50,"):
        named("ResNet-50")


def test_batch_normalisation_and_dropout_inside_do_as_in_inference_while_others_train(
    network: Backbone,
) -> None:
    model = build(network, freeze_layers=0)
    model.set_weights(randomized(model))
    features = keras.Model(model.input, model.get_layer("gap").output)
    before = [np.copy(array) for array in model.get_weights()]
    np.testing.assert_array_equal(features(RGB, training=True), features(RGB, training=False))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    trained = {layer.name for layer in model.layers if layer.trainable_weights}
    assert trained == {"stem", "norm", "conv2d", "conv2d_1", "dense", "probabilities"}
    assert "2 layers among those that train" in freezing.describe_kept(model)
    assert freezing.describe_kept(build(network)) is None


@pytest.mark.parametrize("until", ["batch_normalization", "conv2d"])
def test_block_that_begins_with_batch_normalisation_is_cut_off_before_it(
    until: str, network: Backbone
) -> None:
    model = build(network, freeze_until=until)
    model.set_weights(randomized(model))
    frozen, rest = cut(model)
    assert frozen.layers[-1].name == "norm"
    np.testing.assert_array_equal(rest(frozen(RGB)), model(RGB))


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_assigned_weights_are_seen_and_saved_by_layers_of_keras(
    precision: str, network: Backbone, tmp_path
) -> None:
    """Keras's Normalization computes with what it was built with."""
    config = TrainConfig(
        data_dir="", workdir="", backbone="efficientnetb0", head="gap", precision=precision,
        input_size=96, freeze_until="conv2d",
    )  # fmt: skip
    model = build(network, precision=precision, freeze_until="conv2d", input_size=96)
    rgb = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    for variable, array in zip(model.weights, randomized(model), strict=True):
        variable.assign(array)
    mean, variance = model.get_layer("normalization").get_weights()[:2]
    normalized = keras.Model(model.input, model.get_layer("normalization").output)(rgb)
    np.testing.assert_allclose(normalized, (rgb / 255 - mean) / variance**0.5, rtol=1e-4)
    classifier.for_inference(model, config, network).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects={}, compile=False)
    assert {type(layer).__module__.partition(".")[0] for layer in loaded.layers} == {"keras"}
    np.testing.assert_allclose(
        loaded.predict(rgb, verbose=0), model.predict(rgb, verbose=0), atol=1e-6
    )


@pytest.mark.parametrize("file", ["numbers.h5", "numbers.weights.h5"])
def test_weights_come_from_either_of_keras_files(file: str, network: Backbone, tmp_path) -> None:
    published = network.published(None)
    published.set_weights(randomized(published))
    if file.endswith(".weights.h5"):
        published.save_weights(tmp_path / file)
    else:  # What Keras itself downloads; it writes no such any more.
        with h5py.File(tmp_path / file, "w") as content:
            legacy_h5_format.save_weights_to_hdf5_group(content, published)
    model = build(network)
    weights.check_path(str(tmp_path / file), network)
    assert weights.load_weights(model, str(tmp_path / file), network) == str(tmp_path / file)
    for variable, array in zip(model.weights, published.get_weights(), strict=False):
        np.testing.assert_array_equal(variable, array)


def test_weights_of_another_network_and_those_that_cannot_be_had_are_one_line(
    network: Backbone, tmp_path
) -> None:
    other = str(tmp_path / "other.weights.h5")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(other)
    for path, says in (
        (other, f"Tried {other}: "),
        ("imagenet", "Tried Keras's cache and download: Name or service not known. Give the path"),
    ):
        with pytest.raises(weights.WeightsError, match="No EfficientNetB0 weights") as error:
            weights.load_weights(build(network), path, network)
        assert says in str(error.value)


def test_recipe_says_what_of_another_backbone_is_frozen_and_which_file_it_starts_from() -> None:
    config = TrainConfig(data_dir="d", workdir="w", backbone="resnet50", weights="a/b.h5")
    recipe = config.settings()
    assert (recipe["freeze_layers"], recipe["weights"]) == (None, "b.h5")
    until = TrainConfig(data_dir="d", workdir="w", freeze_until="block5_conv1").settings()
    assert (until["freeze_layers"], until["freeze_until"]) == (None, "block5_conv1")


@pytest.mark.parametrize("name", ["vgg16", "resnet50v2", "densenet121", "efficientnetb0"])
def test_preprocessing_has_no_name_of_the_heads(name: str) -> None:
    """One of each way: the model is divided, and the head is fitted, by the names of layers."""
    images = keras.Input((SIZE, SIZE, 3))
    preprocessed = named(name).preprocess(images, True)
    names = {layer.name for layer in keras.Model(images, preprocessed).layers}
    assert not names & {STANDARDIZE, STANDARDIZE_PLACES, DROPOUT, PLACES, CLASSIFIER}
