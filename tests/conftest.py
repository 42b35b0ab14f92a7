"""Fixtures: the real photographs where they are, a small drawn dataset, a Slurm cluster."""

import contextlib
import functools
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import trainer  # noqa: F401  # Before TensorFlow, which it tells how to compute.
from cli import machine
from tests.support import bucket_servers, fault_proxy, miniature, slurm

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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of a server of S3 on this machine."""
    with bucket_servers.serving("s3") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def gs_server() -> Iterator[str]:
    """The endpoint of a server of Google Cloud Storage on this machine."""
    with bucket_servers.serving("gs") as endpoint:
        yield endpoint


@pytest.fixture
def s3_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket, which this process and those it starts can reach."""
    with bucket_servers.reached("s3", s3_server, monkeypatch):
        yield bucket_servers.make_bucket("s3", s3_server)


@pytest.fixture
def gs_bucket(gs_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket, which this process and those it starts can reach."""
    with bucket_servers.reached("gs", gs_server, monkeypatch):
        yield bucket_servers.make_bucket("gs", gs_server)


@pytest.fixture(params=["s3", "gs"])
def bucket(request: pytest.FixtureRequest) -> str:
    """Either; `@pytest.mark.parametrize("bucket", ["gs"], indirect=True)` takes one of them."""
    return request.getfixturevalue(f"{request.param}_bucket")


@pytest.fixture
def memory_bucket() -> Iterator[str]:
    """A place in this process's memory, which only this process can reach."""
    from fsspec.implementations.memory import MemoryFileSystem

    yield "memory://bucket"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(scope="session")
def fault_proxies(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[str], fault_proxy.FaultProxy]]:
    """Starts the proxy of a scheme's server when it is first asked for."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def proxy(scheme: str) -> fault_proxy.FaultProxy:
            endpoint = request.getfixturevalue(f"{scheme}_server")
            return stack.enter_context(fault_proxy.before(scheme, endpoint))

        yield proxy


@pytest.fixture
def faults(
    bucket: str,
    fault_proxies: Callable[[str], fault_proxy.FaultProxy],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[fault_proxy.FaultProxy]:
    """What lies before `bucket` now: it counts requests, and slows and spoils them as planned."""
    scheme = bucket.partition(":")[0]
    proxy = fault_proxies(scheme)
    proxy.plan()
    proxy.slow()
    with bucket_servers.reached(scheme, proxy.endpoint, monkeypatch):
        yield proxy
