"""The range test: what it suggests for losses of a known shape, and what it leaves behind."""

import csv
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from tests.support import miniature
from trainer import lr_find
from trainer.checks import check_run
from trainer.config import TrainConfig
from trainer.lr_find import STEPS, has_exploded, in_words, rates_of, smooth, suggest
from trainer.model.backbone import VGG16

# 17 decades' hundredths per step; the noise of batches, as large as an eighth of the whole fall.
NOISE = np.random.default_rng(0).normal(0, 0.1, STEPS)


def losses_falling_at(rate: float, by: float = 2.0) -> np.ndarray:
    """A fall that is steepest at a rate, and a rise after the 1e-1."""
    decades = np.log10(rates_of(STEPS))
    fall = by / (1 + np.exp(-4 * (decades - np.log10(rate))))
    return 2.5 - fall + np.maximum(decades + 1, 0) * 5 + NOISE


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 1e-2])
def test_suggestion_is_where_the_loss_falls_fastest(rate: float) -> None:
    losses = list(losses_falling_at(rate))
    assert rate / 2 < suggest(rates_of(STEPS), losses, smooth(losses)) < rate * 2


@pytest.mark.parametrize(
    "losses",
    [
        losses_falling_at(1e-3, by=0.0),  # Noise falls too, somewhere.
        np.linspace(2, 4, STEPS),
        [3.0, 2.0, 1.0],  # It exploded at once.
        [],
    ],
)
def test_no_rate_is_suggested_where_the_loss_does_not_fall(losses) -> None:
    losses = list(losses)
    rates, smoothed = rates_of(len(losses)), smooth(losses)
    assert suggest(rates, losses, smoothed) is None
    config = TrainConfig(data_dir="d", workdir="w")
    assert "No suggestion" in in_words(config, rates, smoothed, None)


@pytest.mark.parametrize(
    ("losses", "has"),
    [
        ([2.0], False),
        ([float("nan")], True),
        ([2.0, float("inf")], True),
        ([2.0] * 9 + [30.0], False),  # One batch alone may be a hard one.
        ([2.0] * 9 + [30.0] * 3, True),
    ],
)
def test_explosion_is_no_single_hard_batch(losses, has: bool) -> None:
    assert has_exploded(losses) is has


def test_rates_grow_from_the_lowest_to_the_highest() -> None:
    rates = rates_of(STEPS)
    assert rates[[0, -1]] == pytest.approx([lr_find.LOWEST, lr_find.HIGHEST])
    assert rates[1:] / rates[:-1] == pytest.approx(rates[1] / rates[0])


def test_suggestion_is_for_the_rate_before_it_is_scaled() -> None:
    config = TrainConfig(data_dir="d", workdir="w", lr_scaling="linear", batch_size=64)
    said = in_words(config, rates_of(STEPS), smooth(list(losses_falling_at(1e-3))), 1e-3)
    assert "--learning_rate=0.0005," in said


def test_test_leaves_a_picture_and_a_table_and_the_workdir_free(
    dataset: Path, tmp_path: Path
) -> None:
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}", "--batch_size=8", "--epochs=1")
    done = miniature.train(*flags, "--lr_find")
    assert done.returncode == 0, done.stderr
    assert "of 100 steps were taken" in done.stdout or "No suggestion" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"lr_find.csv", "lr_find.png"}
    rows = list(csv.DictReader((tmp_path / "lr_find.csv").open()))
    assert list(rows[0]) == ["step", "learning_rate", "loss", "smoothed_loss"]
    assert float(rows[0]["learning_rate"]) == pytest.approx(1e-7)
    assert float(rows[0]["loss"]) == pytest.approx(np.log(8), abs=0.5)
    height, width, _ = matplotlib.image.imread(tmp_path / "lr_find.png").shape
    assert width > height > 200


def test_test_leaves_a_run_alone(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    config = TrainConfig(data_dir=str(dataset), workdir=str(tmp_path), lr_find=True)
    with pytest.raises(ValueError, match="lr_find starts from the initial weights, and leaves"):
        check_run(config, VGG16)
