"""Runs that unfreeze, decay rates by layers and average: exact on replicas, resumed, reused."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support import miniature
from tests.support.doomed import Kill, survive
from tests.test_train import figures_of, weights_of
from tfrecords.manifest import read_manifest
from trainer.config import TrainConfig
from trainer.model.classifier import build_model
from trainer.model.head import Head
from trainer.workdir import initial_model
from trainer.workdir.files import Workdir
from trainer.workdir.saved_model import load_model

# Six steps an epoch; of means, conv1, conv2 and conv3 the last is not frozen.
RECIPE = (
    "--batch_size=8", "--epochs=3", "--learning_rate=0.05", "--deterministic", "--head=gap",
    "--freeze_layers=4",
)  # fmt: skip
TUNING = (
    "--unfreeze=2:conv2,3:conv1", "--layer_decay=0.8", "--ema=0.8", "--weight_decay=0.01",
    "--lr_scaling=sqrt",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def convolutions() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIATURE_CONVOLUTIONS", "3")
        yield


def train(dataset: Path, workdir: Path, *flags: str) -> str:
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={workdir}", *RECIPE, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tuned(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("tuned")
    said = train(dataset, workdir, *TUNING)
    assert "Learning rate: 0.05 x the root of 8/32 = 0.025" in said
    return workdir


def assert_same_end(one: Path, other: Path) -> None:
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert figures_of(one) == figures_of(other)


def test_four_replicas_end_at_the_bits_of_one(tuned: Path, dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path, *TUNING, "--cpu_replicas=4")
    assert_same_end(tuned, tmp_path)


def test_run_that_is_stopped_ends_at_the_same_bits(
    tuned: Path, dataset: Path, tmp_path: Path
) -> None:
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}", *RECIPE, *TUNING)
    planned = [
        # Within an epoch, with one layer unfrozen.
        Kill("train", 9, 0.0, signal.SIGTERM, replicas=2),
        Kill("evaluate", 1, 0.0, signal.SIGTERM),  # While the model has the averages.
        Kill("report", 1, 0.0, signal.SIGKILL),  # Trained, the averages not yet written.
    ]
    assert [kill for kill, _ in survive(flags, planned)] == planned
    assert_same_end(tuned, tmp_path)


def test_saved_model_is_the_one_that_was_validated(tuned: Path) -> None:
    """Both are the average, which differs from the weights that the checkpoint ends with."""
    as_trained = json.loads((tuned / "metrics.json").read_text())["uncalibrated"]
    last = float(figures_of(tuned)[-1]["val_loss"])
    assert last == pytest.approx(as_trained["loss"], rel=1e-6)
    with np.load(max((tuned / "checkpoints").glob("*.npz"))) as checkpoint:
        raw = [checkpoint[name] for name in sorted(checkpoint.files) if name != "progress"]
    for a, b in zip(raw[:6], weights_of(tuned), strict=False):  # Of the convolutions.
        assert (a != b).any()


def test_run_that_starts_from_another_needs_it_no_more_to_go_on(
    tuned: Path, dataset: Path, tmp_path: Path
) -> None:
    source, workdir = tmp_path / "source", tmp_path / "run"
    shutil.copytree(tuned, source, ignore=shutil.ignore_patterns("checkpoints"))
    flags = (*RECIPE, "--epochs=1", f"--init_from={source}")
    stopped = Kill("train", 3, 0.0, signal.SIGTERM)
    command = stopped.command((f"--data_dir={dataset}", f"--workdir={workdir}", *flags))
    done = subprocess.run(
        command, capture_output=True, text=True, env=miniature.environment(), check=False
    )
    assert done.returncode == stopped.code, done.stderr
    assert f"The backbone starts from {source / 'model.keras'}. So does the head." in done.stdout
    shutil.rmtree(source)
    said = train(dataset, workdir, *flags)
    assert "starting at step 0" not in said
    assert "The backbone starts from" not in said
    assert "is finished" in train(dataset, workdir, *flags)


def model_like(tuned: Path, **options: object) -> tuple[object, TrainConfig]:
    from tests.support import miniature_backbone

    config = TrainConfig(data_dir="d", workdir="w", init_from=str(tuned), head="gap")
    backbone = miniature_backbone.create(convolutions=options.pop("convolutions", 3))
    given = {"head": Head("gap"), "input_size": 224, "freeze_layers": 4, **options}
    return build_model(8, backbone=backbone, **given), config


def test_start_takes_the_tuned_backbone_and_the_head(tuned: Path, dataset: Path) -> None:
    model, config = model_like(tuned)
    said = initial_model.start_from(model, config, read_manifest(dataset).classes)
    assert said == f"The backbone starts from {tuned / 'model.keras'}. So does the head."
    for own, theirs in zip(model.get_weights(), weights_of(tuned), strict=True):
        np.testing.assert_array_equal(own, theirs)


@pytest.mark.parametrize(
    ("classes", "options", "says"),
    [
        ("abcdefgh", {}, "The head is new: its classes are bear, bird, cat, dog"),
        (
            None,
            {"head": Head("flatten")},
            "The head is new: the other one is of another kind or size",
        ),
        (None, {"input_size": 96}, "So does the head."),
    ],
)
def test_head_is_new_where_another_is_needed(
    classes, options, says, tuned: Path, dataset: Path
) -> None:
    model, config = model_like(tuned, **options)
    before, theirs = model.get_weights(), weights_of(tuned)
    said = initial_model.start_from(model, config, classes or read_manifest(dataset).classes)
    assert says in said
    np.testing.assert_array_equal(model.get_weights()[0], theirs[0])
    is_new = "The head is new" in said
    np.testing.assert_array_equal(model.get_weights()[-2], (before if is_new else theirs)[-2])


def test_start_from_another_backbone_is_refused(tuned: Path) -> None:
    model, config = model_like(tuned, convolutions=4)
    with pytest.raises(ValueError, match="a miniature_animals, without the layer conv4 of"):
        initial_model.start_from(model, config, ["a"] * 8)


def test_start_is_known_by_its_content(tuned: Path, tmp_path: Path) -> None:
    def digest(path: Path) -> str | None:
        config = TrainConfig(data_dir="d", workdir=str(tmp_path / "w"), init_from=str(path))
        return initial_model.digest(config)

    shutil.copytree(tuned, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints"))
    assert digest(tuned) == digest(tuned / "model.keras") == digest(tmp_path / "copy")
    (tmp_path / "copy" / "classes.json").unlink()  # Without which the head is new.
    assert digest(tuned) != digest(tmp_path / "copy")
    for damaged, says in (("nowhere", "there is no"), ("copy/model.keras", "is damaged, or")):
        if damaged != "nowhere":
            (tmp_path / damaged).write_bytes(b"no model")
        with pytest.raises(ValueError, match=says):
            digest(tmp_path / damaged)
    assert load_model(Workdir(tuned))
