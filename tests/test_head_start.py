"""A run whose head is fitted before its first step."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.support import miniature
from tests.support.doomed import Kill, survive
from tests.test_train import figures_of, weights_of

LOGISTIC = (
    "--batch_size=8", "--input_size=96", "--fit=pad", "--augment=flip", "--object_crops",
    "--test_views=scales", "--freeze_layers=19", "--head=places", "--head_units=0", "--dropout=0",
    "--feature_norm=standardize", "--head_init=logistic", "--learning_rate=0.01", "--deterministic",
)  # fmt: skip


def train(dataset: Path, workdir: Path, *flags: str) -> str:
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={workdir}", *LOGISTIC, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def not_trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    workdir = tmp_path_factory.mktemp("not_trained")
    return workdir, train(dataset, workdir, "--epochs=0")


def evaluate(workdir: Path, dataset: Path, split: str) -> dict[str, float]:
    done = miniature.python(
        "trainer.evaluate", f"--workdir={workdir}", f"--data_dir={dataset}", f"--split={split}"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_head_without_an_epoch_is_the_logistic_regression(not_trained, dataset: Path) -> None:
    workdir, said = not_trained
    assert "Head: the logistic regression of" in said
    assert "Places: the logistic regression of" in said
    assert figures_of(workdir) == []
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert evaluate(workdir, dataset, "val")["loss"] == pytest.approx(metrics["loss"], abs=1e-5)
    # It has seen these; of an animal the miniature sees but colours.
    assert evaluate(workdir, dataset, "train")["loss"] < 0.95 * np.log(8)


def test_training_goes_on_from_it_the_same_on_two_replicas_through_kills_and_from_a_shorter_run(
    not_trained, dataset: Path, tmp_path: Path
) -> None:
    train(dataset, tmp_path / "one", "--epochs=2")
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path / 'two'}", *LOGISTIC, "--epochs=2")
    planned = [
        Kill("features", 2, 0.0, signal.SIGKILL, replicas=2),
        Kill("train", 3, 0.0, signal.SIGKILL, replicas=2),  # Before there is a checkpoint.
        Kill("train", 8, 0.0, signal.SIGTERM, replicas=2),
    ]
    assert [kill for kill, _ in survive(flags, planned)] == planned
    grown, _ = not_trained
    train(dataset, grown, "--epochs=2")
    for other in (tmp_path / "two", grown):
        assert figures_of(tmp_path / "one") == figures_of(other)
        for a, b in zip(weights_of(tmp_path / "one"), weights_of(other), strict=True):
            np.testing.assert_array_equal(a, b)
