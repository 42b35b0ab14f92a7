"""model.keras in every Keras that README promises: a file outlives the version that wrote it."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from cli.flags import options_of
from trainer.config import TrainConfig
from trainer.model import classifier
from trainer.model.backbone import VGG16
from trainer.model.head import Head

PRECISIONS = options_of(TrainConfig)["precision"].choices
# The oldest that is promised, and whatever is the newest.
KERASES = {"oldest": "keras==3.5.0", "newest": "keras>=3.15"}

LOAD = """
import json, sys, keras, numpy as np
rgb = np.load(sys.argv[1])
said = {}
for path in sys.argv[2:]:
    model = keras.saving.load_model(path, compile=False)
    images = (rgb, rgb.astype("float32"))
    said[path] = [model.predict(each, verbose=0).tolist() for each in images]
print(json.dumps([keras.__version__, said]))
"""


def small_network(images: keras.KerasTensor) -> keras.Model:
    """Takes the place of VGG16's layers: of the same kinds and names, of a few channels."""
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="block1_conv1")(images)
    x = keras.layers.MaxPooling2D(32, name="block1_pool")(x)
    return keras.Model(keras.utils.get_source_inputs(images), x)


SMALL_VGG = dataclasses.replace(VGG16, network=small_network)


@pytest.fixture(scope="module")
def rgb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rgb") / "rgb.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8))
    return path


LINEAR = {"precision": "float32", "head_units": 0, "head_init": "logistic"}


@pytest.fixture(scope="module")
def saved(rgb: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Files of models of every head and precision, and what the model that was trained says."""
    folder, said = tmp_path_factory.mktemp("saved"), {}
    for options in (
        *({"head": "gap", "precision": precision} for precision in PRECISIONS),
        {"head": "flatten", "precision": "float32"},
        {"head": "gem", "feature_norm": "power_l2", "precision": "float32"},
        {"head": "gap_gmp", "test_views": "scales", "precision": "float32"},
        {"head": "places", "feature_norm": "standardize", "test_views": "flip", **LINEAR},
    ):
        config = TrainConfig(data_dir="", workdir="", freeze_layers=2, **options)
        model = classifier.build_model(
            3,
            backbone=SMALL_VGG,
            freeze_layers=2,
            head=Head.from_config(config),
            precision=options["precision"],
        )
        path = folder / f"{'-'.join(map(str, options.values()))}.keras"
        to_save = classifier.for_inference(model, config, SMALL_VGG, temperature=1.5)
        to_save.save(path)
        said[str(path)] = to_save.predict(np.load(rgb), verbose=0)
    return said


@pytest.mark.parametrize("version", KERASES)
def test_model_loads_in_the_kerases_that_are_promised(
    version: str, saved: dict[str, np.ndarray], rgb: Path, tmp_path: Path
) -> None:
    install(KERASES[version], tmp_path / "keras")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(rgb), *saved], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "keras"), "KERAS_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded_by, said = json.loads(done.stdout.splitlines()[-1])
    assert Path(tmp_path / "keras" / f"keras-{loaded_by}.dist-info").is_dir()
    for path, expected in saved.items():
        for probabilities in said[path]:  # Of uint8 and of float32.
            tolerance = 1e-6 if "float32" in path else 1e-2
            np.testing.assert_allclose(probabilities, expected, atol=tolerance, err_msg=path)


def install(requirement: str, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    pip += ["--disable-pip-version-check", "--timeout=5", "--retries=1"]
    done = subprocess.run([*pip, requirement], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs a package index with {requirement}: {done.stderr.strip()[-200:]}")
