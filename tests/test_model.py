import keras
import numpy as np
import pytest

from cli.flags import options_of
from trainer.config import TrainConfig
from trainer.model import classifier
from trainer.model.backbone import VGG16
from trainer.model.head import Head
from trainer.workdir.files import Workdir, write_json
from trainer.workdir.saved_model import load_model


def count(weights: list[keras.Variable]) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_seed_recipe_has_the_seeds_parameters() -> None:
    model = classifier.build_model(8)
    assert model.count_params() == 21_139_528
    assert count(model.trainable_weights) == 13_504_264
    assert count(model.non_trainable_weights) == 7_635_264


@pytest.mark.parametrize(
    ("freeze_layers", "first_trainable"),
    [
        (0, "block1_conv1"),
        (1, "block1_conv1"),  # The input layer counts, as it does in `model.layers[:n]`.
        (2, "block1_conv2"),
        (14, "block5_conv1"),  # A pooling layer has nothing to freeze.
        (15, "block5_conv1"),
        (18, "dense"),
        (19, "dense"),
    ],
)
def test_layers_below_the_count_are_frozen(freeze_layers: int, first_trainable: str) -> None:
    model = classifier.build_model(8, freeze_layers=freeze_layers, head=Head("gap"))
    trainable = [layer.name for layer in model.layers if layer.trainable_weights]
    assert trainable[0] == first_trainable
    assert trainable[-1] == "probabilities"


def test_backbone_has_as_many_layers_as_it_says() -> None:
    assert len(VGG16.network(keras.Input((96, 96, 3))).layers) == VGG16.num_layers


@pytest.mark.parametrize("freeze_layers", [-1, 20])
def test_count_outside_the_layers_is_refused(freeze_layers: int) -> None:
    with pytest.raises(ValueError, match=f"Received: freeze_layers={freeze_layers}"):
        classifier.build_model(8, freeze_layers=freeze_layers)


def test_preprocessing_inside_is_keras_own() -> None:
    model = classifier.build_model(2, head=Head("gap"))
    rgb = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    inside = keras.Model(model.input, model.get_layer("minus_means").output)
    expected = keras.applications.vgg16.preprocess_input(rgb.astype(np.float32))
    np.testing.assert_allclose(inside.predict(rgb, verbose=0), expected, atol=1e-4)


@pytest.mark.parametrize("precision", options_of(TrainConfig)["precision"].choices)
def test_saved_model_loads_without_the_project_and_predicts_the_same(precision, tmp_path) -> None:
    options = {"freeze_layers": 19, "precision": precision}
    config = TrainConfig(data_dir="", workdir="", head="gap", **options)
    model = classifier.build_model(3, head=Head("gap"), **options)
    classifier.for_inference(model, config, VGG16).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects={}, compile=False)
    assert {type(layer).__module__.partition(".")[0] for layer in loaded.layers} == {"keras"}
    rgb = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3)).astype(np.uint8)
    np.testing.assert_array_equal(loaded.predict(rgb, verbose=0), model.predict(rgb, verbose=0))
    as_float = loaded.predict(rgb.astype(np.float32), verbose=0)
    np.testing.assert_array_equal(as_float, loaded.predict(rgb, verbose=0))


def test_same_seed_gives_the_same_head() -> None:
    one, two, other = (classifier.build_model(3, head=Head("gap", seed=seed)) for seed in (1, 1, 2))
    kernels = [model.get_layer("dense").get_weights()[0] for model in (one, two, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_model_of_another_number_of_classes_than_its_names_is_refused(tmp_path) -> None:
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "model.keras")
    write_json(tmp_path / "classes.json", ["cat", "dog"])
    assert load_model(Workdir(tmp_path)).output_shape == (None, 2)
    write_json(tmp_path / "classes.json", ["cat", "dog", "emu"])
    with pytest.raises(ValueError, match=r"with 2 outputs, classes.json with 3 names"):
        load_model(Workdir(tmp_path))
