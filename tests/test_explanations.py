"""Heat maps light what the model looks at, and stand where that is on the photograph."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cli.command import FlagsError
from tests.support import miniature_backbone, trained_run
from tests.support.miniature_backbone import MINIATURE
from trainer.config import TrainConfig
from trainer.data.view import View
from trainer.inference import overlay
from trainer.inference.classifier import Classifier
from trainer.inference.explanation import explain_squares
from trainer.inference.gradcam import HeatMaps, suited_method
from trainer.model.backbone import Backbone
from trainer.model.classifier import build_model, for_inference
from trainer.model.head import Head
from trainer.model.several_views import averaged_over

SIZE = 96
# Cells of the map, 8 by 8, that the model with one eye sees.
CORNER = (slice(0, 2), slice(6, 8))
IN_CORNER = [(row, column) for row in range(2) for column in range(6, 8)]
HEADS = {
    "flatten": Head("flatten", units=0, dropout=0.0),
    "reference": Head("flatten", units=16, dropout=0.5),
    "gap": Head("gap", units=0, dropout=0.0),
    "gmp": Head("gmp", units=8, dropout=0.5),
    "gem": Head("gem", norm="l2", units=0, dropout=0.0),
    "gap_gmp": Head("gap_gmp", norm="power_l2", units=0, dropout=0.0),
    "standardize": Head("gap_gmp", norm="standardize", units=0, dropout=0.0),
    "places": Head("places", norm="standardize", units=0, dropout=0.0),
}


def look_at_corner(images: Any) -> keras.Model:
    """A backbone that takes the means of cells, and nothing but those of the corner on."""
    x = keras.layers.AveragePooling2D(SIZE // 8, name="means")(images)
    x = keras.layers.Cropping2D(((0, 6), (6, 0)), name="corner")(x)
    x = keras.layers.ZeroPadding2D(((0, 6), (6, 0)), name="around_it")(x)
    return keras.Model(keras.utils.get_source_inputs(images), x)


def model_of(
    head: Head, backbone: Backbone = MINIATURE, precision: str = "float32", **options: Any
) -> keras.Model:
    return build_model(
        2, backbone=backbone, input_size=SIZE, freeze_layers=19, head=head, precision=precision,
        for_training=False, **options,
    )  # fmt: skip


def with_eye_in_the_corner(head: Head) -> keras.Model:
    """What is bright in the corner speaks for the first class, and against the second."""
    model = model_of(head, dataclasses.replace(MINIATURE, network=look_at_corner))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
            kernel = np.ones(layer.kernel.shape)
            if layer.name != "dense":
                kernel[..., 1:] *= -1
            layer.set_weights([kernel / kernel[..., 0].size * 4, np.zeros(layer.bias.shape)])
    return model


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def share_in_corner(heat_map: np.ndarray) -> float:
    return float(heat_map[CORNER].sum() / heat_map.sum())


@pytest.mark.parametrize("head", HEADS)
def test_model_that_looks_at_one_corner_is_lit_there(head: str) -> None:
    model = with_eye_in_the_corner(HEADS[head])
    methods = ["gradcam", "gradcam++", "hirescam", *(["places"] if head == "places" else [])]
    for method in methods:
        maps = HeatMaps(model, method).of(noise(3), np.zeros(3, np.int64))
        assert maps.shape == (3, 8, 8)
        assert maps.dtype == np.float32
        np.testing.assert_array_equal(maps.max(axis=(1, 2)), 1)
        assert maps.min() >= 0
        if method == "places":  # Which has no zero: a place is taken for each class a little.
            assert all(np.unravel_index(each.argmax(), each.shape) in IN_CORNER for each in maps)
        else:
            assert min(map(share_in_corner, maps)) > 0.9


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "hirescam"])
def test_class_that_nothing_speaks_for_is_cold(method: str) -> None:
    model = with_eye_in_the_corner(HEADS["gap"])
    maps = HeatMaps(model, method).of(noise(2), np.array([0, 1]))
    assert maps[0].max() == 1
    assert not maps[1].any()


def test_hirescam_sees_which_place_a_flat_head_looks_at() -> None:
    """Grad-CAM, by its definition, weighs a channel alike everywhere."""
    model = model_of(HEADS["flatten"])
    kernel = np.zeros((8, 8, 3, 2))
    kernel[CORNER] = [1, -1]
    model.get_layer("probabilities").set_weights([kernel.reshape(-1, 2), np.zeros(2)])
    labels = np.zeros(1, np.int64)
    [faithful] = HeatMaps(model, "hirescam").of(noise(1), labels)
    [published] = HeatMaps(model, "gradcam").of(noise(1), labels)
    assert share_in_corner(faithful) > 0.999
    assert share_in_corner(published) < 0.2


@pytest.mark.parametrize("head", HEADS)
def test_where_nobody_names_a_method_flat_heads_get_the_faithful_one(head: str) -> None:
    model, suited = model_of(HEADS[head]), "gradcam"
    if head in ("flatten", "reference"):
        suited = "hirescam"
    assert suited_method(model) == suited_method(averaged_over(model, "flip")) == suited
    assert HeatMaps(model).method == suited


def test_gradcam_is_the_weighed_mean_that_the_paper_defines() -> None:
    """Held against NumPy, on a head whose gradients are its kernel."""
    model = model_of(HEADS["gap"])
    kernel = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
    model.get_layer("probabilities").set_weights([kernel, np.zeros(2)])
    squares = noise(2)
    features = squares.reshape(2, 8, 12, 8, 12, 3).mean((2, 4)) / 255
    gradient = kernel[:, 1] / 64
    plain = np.maximum(features @ gradient, 0)
    total = features.sum((1, 2), keepdims=True)
    alpha = gradient**2 / (2 * gradient**2 + total * gradient**3)
    weights = (64 * alpha * np.maximum(gradient, 0)).sum((1, 2), keepdims=True)
    plus_plus = np.maximum((features * weights).sum(-1), 0)
    for method, expected in (("gradcam", plain), ("gradcam++", plus_plus)):
        maps = HeatMaps(model, method).of(squares, np.ones(2, np.int64))
        highest = expected.max((1, 2), keepdims=True)
        np.testing.assert_allclose(maps, expected / highest, atol=1e-5)


@pytest.mark.parametrize(
    ("head", "precision"),
    [("gem", "mixed_bfloat16"), ("places", "mixed_bfloat16"), ("reference", "mixed_float16")],
)
def test_heads_are_explained_in_mixed_precision(head: str, precision: str) -> None:
    backbone = miniature_backbone.create(convolutions=1)
    maps = HeatMaps(model_of(HEADS[head], backbone, precision), "gradcam++").of(
        noise(2), np.array([0, 1])
    )
    assert np.isfinite(maps).all()
    assert set(maps.max(axis=(1, 2))) <= {0.0, 1.0}


@pytest.mark.parametrize("test_views", ["1", "flip", "scales"])
def test_mirrored_photograph_has_the_mirrored_map_whatever_stands_around_the_model(
    test_views: str, tmp_path: Path
) -> None:
    """Views and temperature are in the file, around the model that is explained."""
    config = TrainConfig(
        data_dir="", workdir="", input_size=SIZE, head="gap_gmp", head_units=0, dropout=0.0,
        test_views=test_views, freeze_layers=19,
    )  # fmt: skip
    # Several views make a map symmetric, whatever the convolutions are.
    backbone = miniature_backbone.create(convolutions=0 if test_views == "1" else 2)
    model = build_model(
        3, backbone=backbone, input_size=SIZE, freeze_layers=19, head=Head.from_config(config)
    )
    for_inference(model, config, backbone, temperature=1.7).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    squares, labels = noise(2), np.array([0, 2])
    heat_maps = HeatMaps(loaded)
    there, back = heat_maps.of(squares, labels), heat_maps.of(squares[:, :, ::-1], labels)
    assert there.any()
    np.testing.assert_allclose(back, there[:, :, ::-1], atol=1e-5)


def test_many_are_explained_as_one_is() -> None:
    heat_maps = HeatMaps(model_of(HEADS["gmp"]))
    squares, labels = noise(40), np.arange(40) % 2
    together = heat_maps.of(squares, labels)
    alone = np.concatenate([heat_maps.of(squares[i : i + 1], labels[i : i + 1]) for i in range(40)])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert heat_maps.of(squares[:0], labels[:0]).shape == (0, 8, 8)


@pytest.mark.parametrize(
    ("method", "message"),
    [("lime", "must be one of gradcam, gradcam"), ("places", "needs a run of --head=places")],
)
def test_method_that_the_model_does_not_have_is_refused(method: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeatMaps(model_of(HEADS["gap"]), method)


def test_other_models_are_refused() -> None:
    images = keras.Input((SIZE, SIZE, 3))
    other = keras.Model(images, keras.layers.GlobalAveragePooling2D(name="gap")(images))
    with pytest.raises(ValueError, match="one that a run has trained"):
        HeatMaps(other)


@pytest.mark.parametrize("shape", [(120, 200), (200, 120), (96, 96)])
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_heat_stands_where_the_photograph_shows_what_was_seen(
    fit: str, shape: tuple[int, int]
) -> None:
    """The map is the brightness of what the model sees; what is bright is a rectangle."""
    photograph = np.zeros((*shape, 3), np.uint8)
    photograph[60:90, 60:90] = 255
    view = View(96, fit=fit)
    square = view.square(tf.io.encode_jpeg(photograph, quality=100)).numpy()
    dark = np.abs(square - np.array([124, 117, 104])).max(axis=2) < 4  # What pad adds.
    brightness = np.where(dark, 0, square.mean(axis=2) / 255).astype(np.float32)
    heat = overlay.place(brightness, view, *shape)
    assert heat.shape == shape
    np.testing.assert_allclose(np.argwhere(heat > 0.5).mean(axis=0), [74.5, 74.5], atol=1.5)
    assert (heat > 0.5).sum() == pytest.approx(30 * 30, rel=0.1)


def test_what_a_crop_cuts_off_is_cold_and_grey() -> None:
    photograph = np.random.default_rng(0).integers(0, 256, (80, 160, 3), np.uint8)
    heat = overlay.place(np.ones((7, 7), np.float32), View(96, fit="crop"), 80, 160)
    seen = np.zeros((80, 160), bool)
    seen[5:75, 45:115] = True  # 7/8 of the short side.
    np.testing.assert_allclose(heat, seen, atol=1e-6)
    laid = overlay.lay_over(photograph, heat)
    colour = laid.max(axis=2).astype(int) - laid.min(axis=2)
    assert not colour[~seen].any()
    assert colour[seen].min() > 60


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.load(trained_run.write(tmp_path_factory.mktemp("run")))


def test_classifier_explains_what_it_says_of_photographs(classifier: Classifier) -> None:
    photographs = [*np.random.default_rng(0).integers(0, 256, (2, 90, 150, 3), np.uint8)]
    rows = classifier.predict(photographs)
    explained = classifier.explain(photographs)
    for row, explanation in zip(rows, explained, strict=True):
        assert explanation.label == row.argmax()
        assert explanation.probability == row.max()
        assert explanation.photograph.shape == explanation.overlay().shape == (90, 150, 3)
        assert explanation.heat_map.max() == 1
    chosen = classifier.explain(photographs, ["zebra", "cat"], "gradcam++")
    assert [each.label for each in chosen] == [2, 0]
    np.testing.assert_array_equal([each.probability for each in chosen], [rows[0, 2], rows[1, 0]])
    assert classifier.explain([]) == []


def test_classes_that_cannot_be_explained_are_refused(classifier: Classifier) -> None:
    photograph = np.zeros((90, 150, 3), np.uint8)
    with pytest.raises(FlagsError, match="The nearest: zebra"):
        classifier.explain([photograph], ["zebar"])
    with pytest.raises(ValueError, match="Received: 1 for 2 photographs"):
        classifier.explain([photograph] * 2, ["cat"])


def test_huge_photograph_is_drawn_smaller(classifier: Classifier) -> None:
    wide = np.random.default_rng(0).integers(0, 256, (30, 5000, 3), np.uint8)
    [explanation] = classifier.explain([wide])
    assert explanation.photograph.shape == explanation.overlay().shape == (12, 2048, 3)


def test_squares_are_overlaid_as_a_report_shows_them() -> None:
    model, squares = with_eye_in_the_corner(HEADS["gap"]), noise(3)
    laid = explain_squares(model, squares, np.zeros(3, np.int64))
    assert laid.shape == squares.shape
    assert laid.dtype == np.uint8
    colour = laid.max(axis=3).astype(int) - laid.min(axis=3)
    assert colour[:, :24, 72:].mean() > 50
    assert colour[:, 36:, :60].max() <= 2
