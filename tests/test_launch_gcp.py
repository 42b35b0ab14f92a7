"""A VM of Google's cloud on this machine: real scripts, stand-ins for the cloud's commands.

`tests/support/stand_ins` holds those of gcloud, poweroff and the VM's Python; the metadata server
is that of `test_preemption`. The project is installed from its commit, and trains.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support import miniature
from tests.test_preemption import MetadataServer, server  # noqa: F401 - a fixture
from tests.test_train import figures_of, weights_of

STAND_INS = Path(__file__).parent / "support/stand_ins"


class Cloud:
    """Buckets, a VM that was created in it, and the calls of its commands."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disk = root / "disk"  # What a VM keeps when it is stopped.
        self.bucket = root / "bucket"

    def launch(self, *flags: str) -> subprocess.CompletedProcess[str]:
        return miniature.python(
            "launch.run", "--backend=gcp", "--gpus=0", "--spot", "--sync_seconds=1",
            f"--write_to={self.root}/job", "--", "--data_dir=gs://bucket/data",
            "--workdir=gs://bucket/runs/first", *flags, **self.variables(),
        )  # fmt: skip

    def variables(self) -> dict[str, str]:
        return {
            "PATH": f"{STAND_INS}:{os.environ['PATH']}",
            "CLOUD": str(self.root),
            "REAL_PYTHON": sys.executable,
        }

    def boot(self, metadata_host: str) -> subprocess.Popen[str]:
        """Runs the startup script, as a VM does; PYTHONPATH has the miniature, not the project."""
        return subprocess.Popen(
            ["bash", self.root / "vm" / "startup-script"],
            stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, text=True, cwd="/",
            env={
                **os.environ, **self.variables(), "ANIMALS_ROOT": str(self.disk),
                "GCE_METADATA_HOST": metadata_host, "PYTHONPATH": str(miniature.AS_MINIATURE),
            },
        )  # fmt: skip

    def shut_down(self) -> None:
        """Runs the shutdown script, which returns when the run is safe."""
        subprocess.run(
            ["bash", self.root / "vm" / "shutdown-script"], check=True, timeout=30,
            env={**os.environ, "ANIMALS_ROOT": str(self.disk)},
        )  # fmt: skip

    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()

    def log(self) -> str:
        return (self.disk / "startup.log").read_text()

    def trainer(self) -> int:
        """The process that trains in the VM now."""
        found = subprocess.run(
            ["pgrep", "--full", f"trainer.main --data_dir={self.disk}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(found.stdout)


def wait_until(condition: Callable[[], object], cloud: Cloud, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, cloud.log()
        time.sleep(0.05)


def test_vm_is_taken_away_goes_on_and_powers_itself_off(
    server: MetadataServer,  # noqa: F811
    dataset: Path,
    long_run: Path,
    long_recipe: tuple[str, ...],
    tmp_path: Path,
) -> None:
    cloud = Cloud(tmp_path)
    cloud.bucket.mkdir()
    (cloud.bucket / "data").symlink_to(dataset)
    done = cloud.launch(*long_recipe)
    assert done.returncode == 0, done.stderr
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True,
        cwd=miniature.REPOSITORY,
    ).stdout.strip()  # fmt: skip
    copied, created = cloud.calls()
    assert "Stop:     gcloud compute instances stop animals-first" in done.stdout
    source = f"gs://bucket/runs/first.launch/source-{commit[:12]}.tar.gz"
    assert copied == f"gcloud storage cp {tmp_path}/job/source-{commit[:12]}.tar.gz {source}"
    assert created.startswith("gcloud compute instances create animals-first --zone=")

    # Google's notice, and soon after it the end of the machine, while it trains.
    kept = cloud.bucket / "runs/first/checkpoints"
    vm = cloud.boot(server.host)
    wait_until(lambda: list(cloud.disk.glob("run/checkpoints/*.npz")), cloud)
    server.preempted.set()
    cloud.shut_down()
    assert vm.wait(30) == 42, cloud.log()
    assert cloud.calls()[-1] == "poweroff"
    assert sorted(p.name for p in kept.iterdir()) == sorted(
        p.name for p in (cloud.disk / "run/checkpoints").iterdir()
    )
    stopped_at = max(kept.iterdir()).name

    # Another VM has nothing of the run. Its trainer is told to stop, and is started again.
    server.preempted.clear()
    for path in sorted((cloud.disk / "run").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    vm = cloud.boot(server.host)
    wait_until(lambda: max(cloud.disk.glob("run/checkpoints/*.npz"), default=Path()).name
               > stopped_at, cloud)  # fmt: skip
    os.kill(cloud.trainer(), signal.SIGTERM)
    assert vm.wait(60) == 0, cloud.log()
    log = cloud.log()
    assert f"Resumed at step {int(stopped_at[5:13])}" in log
    assert log.count("The trainer ended with exit code 42") == 2
    assert log.count("Installing the project at") == 1
    assert cloud.calls()[-1] == "poweroff"
    for one, other in zip(
        weights_of(long_run), weights_of(cloud.bucket / "runs/first"), strict=True
    ):
        np.testing.assert_array_equal(other, one)
    assert figures_of(cloud.bucket / "runs/first") == figures_of(long_run)
    assert (cloud.bucket / "runs/first.launch/startup.log").read_text() in log

    # The trainer refuses the same run with other settings: the VM fails, and ends all the same.
    history = (cloud.bucket / "runs/first/history.csv").read_bytes()
    assert cloud.launch(*long_recipe, "--seed=1").returncode == 0
    assert cloud.boot(server.host).wait(60) == 1
    assert "The workdir holds another run" in cloud.log()
    assert cloud.calls()[-1] == "poweroff"
    assert (cloud.bucket / "runs/first/history.csv").read_bytes() == history


@pytest.mark.parametrize(
    ("gpus", "data", "says"),
    [
        (1, "none", "Of 1 GPUs 0 are visible"),
        (0, "none", "none"),
    ],
)
def test_vm_that_cannot_train_powers_itself_off(
    gpus: int, data: str, says: str, tmp_path: Path
) -> None:
    cloud = Cloud(tmp_path)
    done = miniature.python(
        "launch.run", "--backend=gcp", f"--gpus={gpus}", f"--write_to={tmp_path}/job", "--",
        f"--data_dir=gs://bucket/{data}", "--workdir=gs://bucket/run", **cloud.variables(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [script] = [line for line in (tmp_path / "vm/startup-script").read_text().splitlines()
                if line.startswith("COMMIT=")]  # fmt: skip
    installed = cloud.disk / script.split("'")[1] / "installed"  # Nothing else is wrong with it.
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert cloud.boot("127.0.0.1:9").wait(30) != 0
    assert says in cloud.log()
    assert cloud.calls()[-1] == "poweroff"
    assert says in (cloud.root / "bucket/run.launch/startup.log").read_text()


def test_vm_waits_for_locks_of_apt() -> None:
    """A new VM installs updates by itself when it starts."""
    script = (miniature.REPOSITORY / "launch/templates/gcp_startup.sh").read_text()
    function = script[script.index("install_venv() {") :].partition("\n}\n")[0] + "\n}\n"
    taken_twice = """
apt-get() { echo "apt-get $*"; [[ $1 != update ]] || ((++tries > 2)); }
sleep() { echo "sleep $*"; }
set -e
"""
    done = subprocess.run(
        ["bash", "-c", f"{taken_twice}{function}install_venv"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        *["apt-get update", "sleep 10"] * 2,
        "apt-get update",
        "apt-get -o DPkg::Lock::Timeout=300 install -y python3-venv",
    ]
