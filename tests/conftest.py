"""Fixtures: the real photographs where they are, a small drawn dataset, a Slurm cluster."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import trainer  # noqa: F401  # Before TensorFlow, which it tells how to compute.
from cli import machine
from tests.support import miniature, slurm

_MOST_WORKERS = 8  # With more, the longest file is waited for, and memory is taken for nothing.


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, as tests wait for processes, for signals and for time."""
    return min(machine.cores() + 1, _MOST_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files that start runs first: they are the longest, and one begun last is waited for."""

    def is_quick(item: pytest.Item) -> bool:
        module = getattr(item, "module", None)
        return not (hasattr(module, "miniature") or hasattr(module, "warm"))

    items.sort(key=is_quick)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and weights beside the project."""
    path = Path(__file__).parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("needs ../shared, which is not here")
    return path


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 drawn animals as shards: 41 for training, 9 for validation."""
    from data_prep.build import build
    from data_prep.config import BuildConfig

    data_dir = tmp_path_factory.mktemp("dataset")
    build(
        BuildConfig(
            data_dir=str(data_dir),
            source="synthetic",
            synthetic_images=50,
            split_by="hash",
            label_policy="largest",
            num_workers=1,
        )
    )
    return data_dir


@pytest.fixture(scope="session")
def long_recipe() -> tuple[str, ...]:
    """Flags of a run of the miniature that is long enough to be stopped twice: 12 epochs."""
    return ("--weights=none", "--num_gpus=0", "--batch_size=12", "--epochs=12",
            "--learning_rate=0.05", "--deterministic")  # fmt: skip


@pytest.fixture(scope="session")
def long_run(
    dataset: Path, long_recipe: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The workdir of that run, where nothing stopped it."""
    workdir = tmp_path_factory.mktemp("long_run")
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={workdir}", *long_recipe)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[slurm.Cluster]:
    """Two nodes of a real Slurm, on this machine."""
    if missing := slurm.missing():
        pytest.skip(f"needs Slurm; missing: {', '.join(missing)}")
    with (
        tempfile.TemporaryDirectory(prefix="slurm", dir="/tmp") as root,
        slurm.cluster(Path(root)) as cluster,
    ):
        yield cluster
