"""Runs in buckets, in processes of their own: trained, stopped, gone on with elsewhere, read."""

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from buckets.store import Store
from tests.support import doomed, miniature, warm
from trainer.workdir import history

FLAGS = ("--epochs=2", "--batch_size=8", "--checkpoint_every=1")
NEWEST = "checkpoints/step-00000012.npz"


@pytest.fixture(scope="module")
def local(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in a folder."""
    workdir = tmp_path_factory.mktemp("local") / "run"
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={workdir}", *FLAGS)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Machines":
    return Machines(tmp_path, monkeypatch)


class Machines:
    """This machine, and others that have copied nothing yet."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._monkeypatch, self._count = folder, monkeypatch, 0
        self.take_another()

    def take_another(self) -> None:
        self._count += 1
        self.cache = self._folder / f"machine-{self._count}"
        self._monkeypatch.setenv("XDG_CACHE_HOME", str(self.cache))


def train(
    dataset: Path, url: str, script: tuple[str, ...] = (miniature.__file__,)
) -> subprocess.CompletedProcess[str]:
    return miniature.train(f"--data_dir={dataset}", f"--workdir={url}", *FLAGS, script=script)


def doom(phase: str, nth: int, number: signal.Signals) -> tuple[str, ...]:
    """A run that sends itself the signal as it enters the phase for the nth time."""
    return (doomed.__file__, phase, str(nth), "0", str(int(number)))


def say(module: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        warm.up([sys.executable, "-m", module, *flags]),
        capture_output=True, text=True, env=miniature.environment(), check=True,
    )  # fmt: skip


def nameless(name: str) -> str:
    """TensorBoard's files have names of their own in each process."""
    return re.sub(r"events\.out.*", "events", name)


def steps(store: Store) -> list[int]:
    return sorted(int(name[-12:-4]) for name in store.list("checkpoints") if "step-" in name)


def assert_same(store: Store, local: Path) -> None:
    """The bits of all that training changes, and the rows of the epochs but for their times."""
    with np.load(io.BytesIO(store.read(NEWEST))) as here, np.load(local / NEWEST) as there:
        assert here.files == there.files
        for name in there.files:
            if name != "progress":
                assert here[name].tobytes() == there[name].tobytes()
    path = local.parent / "history.csv"
    path.write_bytes(store.read("history.csv"))
    times = ("seconds", "images_per_second")
    rows = [
        [{name: row[name] for name in row if name not in times} for row in history.read(file) or []]
        for file in (path, local / "history.csv")
    ]
    assert rows[0] == rows[1] != []


def test_run_in_a_bucket_is_the_local_one(
    bucket: str, dataset: Path, local: Path, machine: Machines
) -> None:
    url = f"{bucket}/runs/first"
    run = train(dataset, url)
    assert run.returncode == 0, run.stderr
    assert f"Report: {url}/report.html" in run.stdout
    assert str(machine.cache) not in run.stdout
    store = Store(url)
    assert_same(store, local)
    kept = [path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()]
    assert sorted(map(nameless, store.list())) == sorted(map(nameless, kept))


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_figures_of_another_split_go_into_the_bucket(
    bucket: str, dataset: Path, local: Path, machine: Machines
) -> None:
    store = Store(url := f"{bucket}/runs/first")
    for name in ("config.json", "classes.json", "model.keras", "metrics.json"):
        store.upload(local / name, name)
    done = say("trainer.evaluate", f"--workdir={url}", f"--data_dir={dataset}")
    figures = json.loads(done.stdout)
    assert figures["loss"] == pytest.approx(json.loads(store.read("metrics.json"))["loss"])
    [name] = [name for name in store.list("evaluations") if name.endswith("metrics.json")]
    assert json.loads(store.read(name)) == figures
    assert f"Written to {url}/{name.rpartition('/')[0]}." in done.stderr


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_run_that_is_stopped_and_killed_ends_elsewhere_with_the_same_bits(
    bucket: str, dataset: Path, local: Path, machine: Machines
) -> None:
    url = f"{bucket}/runs/first"
    store = Store(url)
    stopped = train(dataset, url, doom("train", 3, signal.SIGTERM))
    assert stopped.returncode == 42, stopped.stderr
    assert f"a checkpoint of step {steps(store)[-1]} is written" in stopped.stderr
    assert store.entry(".lease") is None

    machine.take_another()
    before = steps(store)[-1]
    killed = train(dataset, url, doom("checkpoint", 6, signal.SIGKILL))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert store.entry("metrics.json") is None
    assert store.entry(".lease")

    machine.take_another()
    last = train(dataset, url)
    assert last.returncode == 0, last.stderr
    [step] = re.findall(r"starting at step (\d+)", last.stdout)
    assert int(step) >= before + 3
    assert_same(store, local)
