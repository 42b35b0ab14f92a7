"""Photographs of another size than VGG16's: trained on, kept as features, evaluated, predicted."""

import csv
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.support import miniature
from tests.support.miniature import REPOSITORY
from tests.test_train import figures_of, weights_of
from tfrecords import reader
from trainer.config import TrainConfig
from trainer.data.examples import shuffle_window
from trainer.data.split import Split
from trainer.data.view import View
from trainer.model import memory
from trainer.model.classifier import build_model
from trainer.model.head import Head
from trainer.model.loss import create_loss
from trainer.model.optimizer import create_optimizer

SIZE = 96
RECIPE = ("--batch_size=8", "--epochs=3", "--learning_rate=0.05", "--deterministic",
          f"--input_size={SIZE}")  # fmt: skip


def train(dataset: Path, workdir: Path, *flags: str) -> str:
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={workdir}", *RECIPE, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def from_features(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("features")
    assert "computed once, to features of" in train(dataset, workdir, "--cache_features=on")
    return workdir


@pytest.mark.parametrize("flags", [["--cache_features=off"], ["--cache_features=on"]])
def test_photographs_and_features_of_any_size_give_the_same_run(
    flags: list[str], from_features: Path, dataset: Path, tmp_path: Path
) -> None:
    train(dataset, tmp_path, *flags)
    assert figures_of(tmp_path) == figures_of(from_features)
    for one, other in zip(weights_of(tmp_path), weights_of(from_features), strict=True):
        np.testing.assert_array_equal(one, other)


def test_features_say_the_size_of_the_photographs(from_features: Path) -> None:
    [described] = from_features.glob("features/*/features.json")
    assert json.loads(described.read_text())["image_size"] == SIZE


def test_saved_model_takes_that_size_and_every_command_with_it(
    from_features: Path, dataset: Path, tmp_path: Path
) -> None:
    model = keras.models.load_model(from_features / "model.keras", compile=False)
    assert model.input_shape == (None, SIZE, SIZE, 3)
    evaluated = miniature.python(
        "trainer.evaluate", f"--workdir={from_features}", f"--data_dir={dataset}", "--name=own"
    )
    assert evaluated.returncode == 0, evaluated.stderr
    own = json.loads((from_features / "metrics.json").read_text())
    assert json.loads(evaluated.stdout)["loss"] == pytest.approx(own["loss"], abs=1e-5)

    shard = min(dataset.glob("*-val.tfrecord-*"))
    jpeg = next(iter(reader.read_serialized(str(shard)).map(reader.parse_example)))["image"]
    photograph = tmp_path / "photograph.jpg"
    photograph.write_bytes(jpeg.numpy())
    predicted = miniature.python(
        "trainer.predict", f"--workdir={from_features}", "--format=json", str(photograph)
    )
    assert predicted.returncode == 0, predicted.stderr
    [answer] = json.loads(predicted.stdout)
    expected = model.predict(View(SIZE).square(jpeg)[None], verbose=0)[0]
    # It is stored again, as a build would, and loses a little by it.
    assert answer["predictions"][0]["probability"] == pytest.approx(expected.max(), abs=0.05)
    with (from_features / "evaluations/own/predictions.csv").open() as file:
        first = next(csv.DictReader(file))
    assert max(float(first[name]) for name in json.loads(
        (from_features / "classes.json").read_text()
    )) == pytest.approx(expected.max(), abs=1e-5)  # fmt: skip


def test_run_does_not_go_on_at_another_size(from_features: Path, dataset: Path) -> None:
    done = miniature.train(
        f"--data_dir={dataset}", f"--workdir={from_features}", *RECIPE, "--input_size=128"
    )
    assert done.returncode == 1
    assert "input_size: 96 there, 128 here" in done.stderr


def test_layers_of_vgg16_take_any_size_and_their_memory_is_that_of_its_pixels() -> None:
    config = TrainConfig(data_dir="", workdir="")
    activations = []
    for size in (96, 192):
        model = build_model(2, input_size=size, head=Head("gap"))
        loss = create_loss(config, {"cat": 1, "dog": 1})
        model.compile(create_optimizer(config, 0.1), loss, jit_compile=False)
        model.build_training()
        assert model.predict(np.zeros((1, size, size, 3), np.uint8), verbose=0).shape == (1, 2)
        activations.append(memory.step_bytes(model, 2) - memory.step_bytes(model, 1))
    assert activations[1] / activations[0] == pytest.approx(4, rel=0.01)


def test_batches_that_wait_take_the_room_of_their_size(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(bytes(1 << 20))
    split = Split("train", [str(tmp_path / "shard")], [100], ["cat", "dog"])

    def window(size: int) -> int:
        options = {"data_ram_mib": 11, "input_size": size}
        return shuffle_window(split, TrainConfig(data_dir="", workdir="", **options))

    assert window(96) == 100
    assert window(224) < 100  # 2 batches of 32 photographs fill 9 of 11 MiB.


def test_a_size_stands_only_where_it_is_chosen() -> None:
    """The option's default, and what the backbone was trained on."""
    found = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "trainer").rglob("*.py")
        if re.search(r"\b224\b", path.read_text())
    }
    assert found == {"trainer/config.py", "trainer/model/backbone.py"}
