"""The same update from fewer images at once, and what is said where memory runs out."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support import hungry, miniature
from tests.test_many_workers import ends, started
from tests.test_train import figures_of, weights_of
from trainer import microbatch

# 41 training examples in batches of 16: one replica adds up four parts of four.
RECIPE = ("--batch_size=16", "--epochs=2", "--learning_rate=0.05", "--deterministic")
XLA = ("--jit_compile", "--nodeterministic")


@pytest.mark.parametrize(
    ("share", "parts", "expected"),
    [(32, 4, [32, 8, 4, 2, 1]), (8, 1, [8, 4, 2, 1]), (12, 4, [12, 3, 1]), (6, 1, [6, 3, 2, 1])],
)
def test_sizes_divide_the_parts_of_a_share(share: int, parts: int, expected: list[int]) -> None:
    assert microbatch.sizes(share, parts) == expected


@pytest.mark.parametrize(("images", "fits"), [(668, True), (669, False)])
def test_gpu_is_given_no_tensor_that_32_bits_cannot_count(
    images: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = SimpleNamespace(output=np.empty([0, 224, 224, 64]))  # As of VGG16's first layer.
    model = SimpleNamespace(layers=[largest], distribute_strategy=None)
    monkeypatch.setattr(microbatch, "is_on_cpu", lambda strategy: False)
    assert microbatch.may_fit(model, images) == fits


def train(dataset: Path, workdir: Path, *flags: str) -> Path:
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={workdir}", *RECIPE, *flags)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture(scope="module")
def one_at_a_time(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(dataset, tmp_path_factory.mktemp("one"), "--microbatch_size=1")


def assert_same_end(one: Path, other: Path, tolerance: float) -> None:
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
    for row, of_other in zip(figures_of(one), figures_of(other), strict=True):
        assert {k: float(v) for k, v in of_other.items()} == pytest.approx(
            {k: float(v) for k, v in row.items()}, abs=tolerance
        )


@pytest.mark.parametrize("flags", [(), (*XLA, "--cpu_replicas=2"), (*XLA, "--microbatch_size=2")])
def test_update_is_that_of_the_whole_batch(
    flags: tuple[str, ...], one_at_a_time: Path, dataset: Path, tmp_path: Path
) -> None:
    assert_same_end(train(dataset, tmp_path, *flags), one_at_a_time, 1e-5)


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_add_up_the_same_pieces(
    replicas: int, one_at_a_time: Path, dataset: Path, tmp_path: Path
) -> None:
    several = train(dataset, tmp_path, "--microbatch_size=1", f"--cpu_replicas={replicas}")
    assert_same_end(several, one_at_a_time, 0.0)


def test_memory_that_runs_out_names_what_fits_and_auto_finds_it(
    one_at_a_time: Path, dataset: Path, tmp_path: Path
) -> None:
    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        return miniature.train(
            f"--data_dir={dataset}", f"--workdir={tmp_path}", *RECIPE, *flags,
            script=(hungry.__file__, "1"),
        )  # fmt: skip

    failed = run()
    assert failed.returncode == 1
    [line] = [line for line in failed.stderr.splitlines() if line.startswith("Error: ")]
    assert line == (
        "Error: Memory ran out. Received: batch_size=16, num_replicas=1, 16 images at once on "
        "each. Start it again with --microbatch_size=1, which was tried and fits."
    )
    done = run("--microbatch_size=auto")
    assert done.returncode == 0, done.stderr
    assert "Microbatch: 1 at a time on each replica." in done.stdout
    assert_same_end(tmp_path, one_at_a_time, 0.0)


def test_workers_take_what_fits_on_all(one_at_a_time: Path, dataset: Path, tmp_path: Path) -> None:
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}", *RECIPE, "--microbatch_size=auto")
    command = miniature.command(*flags, script=(hungry.__file__, "99,1"))
    with started(2, command=command) as workers:
        for code, _, stderr in ends(workers):
            assert code == 0, stderr
    assert_same_end(tmp_path, one_at_a_time, 1e-5)


def test_workers_compile_each_for_itself(
    one_at_a_time: Path, dataset: Path, tmp_path: Path
) -> None:
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}", *RECIPE, *XLA)
    with started(2, *flags) as workers:
        for code, _, stderr in ends(workers):
            assert code == 0, stderr
    assert_same_end(tmp_path, one_at_a_time, 1e-5)


def test_auto_tries_a_batch_that_three_divides(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path, "--batch_size=12", "--epochs=1", "--microbatch_size=auto")
