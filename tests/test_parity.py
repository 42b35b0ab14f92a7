"""One update on any number of replicas, with every option that changes an update."""

from pathlib import Path

import numpy as np
import pytest

from tests.support import miniature
from tests.test_train import figures_of, weights_of

# 30 steps of 41 examples, a multiple of nothing; each strategy in a process of its own.
OPTIONS = (
    "--batch_size=8", "--epochs=5", "--learning_rate=0.02", "--augment=full", "--mixup=0.4",
    "--cutmix=1", "--class_weights=balanced", "--label_smoothing=0.1", "--weight_decay=0.01",
)  # fmt: skip


def train(dataset: Path, workdir: Path, *flags: str) -> Path:
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={workdir}", *OPTIONS, *flags)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture(scope="module")
def on_one_replica(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(dataset, tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_agree_under_every_option(
    replicas: int, on_one_replica: Path, dataset: Path, tmp_path: Path
) -> None:
    several = train(dataset, tmp_path, f"--cpu_replicas={replicas}")
    for a, b in zip(weights_of(on_one_replica), weights_of(several), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for one, other in zip(figures_of(on_one_replica), figures_of(several), strict=True):
        assert {k: float(v) for k, v in other.items()} == pytest.approx(
            {k: float(v) for k, v in one.items()}, abs=1e-5
        )


def test_three_replicas_end_at_the_bits_of_one_and_of_two(dataset: Path, tmp_path: Path) -> None:
    one, *others = (
        train(dataset, tmp_path / str(n), "--batch_size=12", f"--cpu_replicas={n}")
        for n in (1, 2, 3)
    )
    for other in others:
        assert figures_of(one) == figures_of(other)
        for a, b in zip(weights_of(one), weights_of(other), strict=True):
            np.testing.assert_array_equal(a, b)


def test_fold_ends_at_the_same_bits_on_two_replicas_and_from_features(
    dataset: Path, tmp_path: Path
) -> None:
    recipe = ("--fold=2/3", "--fold_seed=1", "--epochs=2", "--augment=flip", "--mixup=0",
              "--cutmix=0")  # fmt: skip
    one, *others = (
        train(dataset, tmp_path / str(n), *recipe, *flags)
        for n, flags in enumerate((["--cache_features=off"], ["--cpu_replicas=2"],
                                   ["--cache_features=on"]))
    )  # fmt: skip
    for other in others:
        assert figures_of(one) == figures_of(other)
        for name in ("predictions.csv", "metrics.json"):
            assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize(
    "changed",
    ["--augment=flip", "--cutmix=0", "--class_weights=none", "--label_smoothing=0",
     "--weight_decay=0"],
)  # fmt: skip
def test_every_option_matters(
    changed: str, on_one_replica: Path, dataset: Path, tmp_path: Path
) -> None:
    without = train(dataset, tmp_path, changed)
    differences = [
        np.abs(a - b).max()
        for a, b in zip(weights_of(on_one_replica), weights_of(without), strict=True)
    ]
    assert max(differences) > 1e-4
