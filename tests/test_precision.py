"""Layers in half precision: what stays float32, and an overflow on any replica."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.support import miniature, overflow, warm
from tests.support.doomed import Kill, survive
from tests.test_many_workers import ends, started
from tests.test_train import figures_of, weights_of
from trainer.model import classifier
from trainer.model.head import Head

HALF = ("mixed_bfloat16", "mixed_float16")


@pytest.mark.parametrize("precision", HALF)
def test_layers_between_preprocessing_and_softmax_compute_in_half(precision: str) -> None:
    model = classifier.build_model(2, head=Head("gap"), precision=precision)
    policies = {layer.name: layer.dtype_policy.name for layer in model.layers}
    assert policies.pop("minus_means") == policies.pop("probabilities") == "float32"
    assert policies.pop("images") == "float32"
    assert set(policies.values()) == {precision}
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model.get_layer("dropout").output.dtype == precision.removeprefix("mixed_")
    assert model.output.dtype == "float32"


def test_bytes_less_their_means_keep_every_bit() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    whole, half = (
        keras.Model(model.input, model.get_layer("minus_means").output).predict(rgb, verbose=0)
        for model in (
            classifier.build_model(2, head=Head("gap"), precision=precision)
            for precision in ("float32", "mixed_bfloat16")
        )
    )
    np.testing.assert_array_equal(half, whole)


EACH_STEP = (
    {"changed": True, "updates": 1, "scale": 2.0**15},
    {"changed": False, "updates": 1, "scale": 2.0**14},  # The step is passed over, once for all.
    {"changed": True, "updates": 2, "scale": 2.0**14},
)


def check(line: str) -> None:
    for step, expected in zip(json.loads(line), EACH_STEP, strict=True):
        scales, loss = step.pop("scales"), step.pop("loss")
        assert np.isfinite(loss)
        assert step == {
            "changed": expected["changed"],
            "finite": True,
            "alike": True,
            "updates": expected["updates"],
        }
        assert set(scales) == {expected["scale"]}


@pytest.mark.parametrize("replicas", [2, 3, 4])  # Three add up in float64.
def test_overflow_on_any_replica_passes_over_the_step_on_all(replicas: int) -> None:
    done = subprocess.run(
        warm.up([sys.executable, overflow.__file__, str(replicas)]),
        capture_output=True, text=True, env=miniature.environment(), check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(lines) == replicas, done.stderr
    for line in lines:
        check(line)


def test_overflow_on_any_worker_passes_over_the_step_on_all() -> None:
    with started(2, command=[sys.executable, overflow.__file__, "1"]) as workers:
        for code, stdout, stderr in ends(workers):
            assert code == 0, stderr
            lines = [line for line in stdout.splitlines() if line.startswith("[")]
            assert len(lines) == 2
            for line in lines:
                check(line)


def test_overflow_that_no_scale_helps_against_ends_in_nan() -> None:
    """A run that passes over every step would never tell."""
    model = overflow.small_model()
    last = model.layers[-1].kernel
    last.assign(100 * last)
    losses = [overflow.step(model, 0)["loss"] for _ in range(17)]
    assert np.isfinite(losses[:15]).all()  # 2 ** 15, halved 15 times: 1.
    assert np.isnan(losses[15:]).all()


def test_half_precision_goes_on_exactly_on_other_replicas(dataset: Path, tmp_path: Path) -> None:
    """The loss scale is as much a part of a checkpoint as the weights."""
    recipe = (
        f"--data_dir={dataset}", "--precision=mixed_float16", "--batch_size=8", "--epochs=2",
        "--learning_rate=0.05", "--checkpoint_every=4", "--deterministic",
    )  # fmt: skip
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    done = miniature.train(*recipe, f"--workdir={whole}")
    assert done.returncode == 0, done.stderr
    kill = Kill("train", 6, 0.0, signal.SIGKILL, replicas=2)
    assert list(survive([*recipe, f"--workdir={resumed}"], [kill]))
    for a, b in zip(weights_of(whole), weights_of(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert figures_of(whole) == figures_of(resumed)
