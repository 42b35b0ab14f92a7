"""A VM of Google's cloud on this machine: real scripts, stand-ins for the cloud's commands.

`tests/support/stand_ins` holds those of gcloud, poweroff and the VM's Python, to which buckets are
folders; the metadata server is that of `test_preemption`. The project is installed from its commit,
and trains.
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

    def launch(self, *flags: str, options: tuple[str, ...] = ("--spot",)) -> str:
        done = miniature.python(
            "launch.run", "--backend=gcp", "--gpus=0", f"--write_to={self.root}/job", *options,
            "--", "--data_dir=gs://bucket/data", "--workdir=gs://bucket/runs/first", *flags,
            **self.variables(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def variables(self) -> dict[str, str]:
        return {
            "PATH": f"{STAND_INS}:{os.environ['PATH']}",
            "CLOUD": str(self.root),
            "REAL_PYTHON": sys.executable,
        }

    def install(self, trainer: str) -> None:
        """Installs a line of bash in the trainer's place."""
        script = (self.root / "vm/startup-script").read_text()
        commit = script.partition("COMMIT='")[2].partition("'")[0]
        python = self.disk / commit / "bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/usr/bin/env bash\n{trainer}\n")
        python.chmod(0o755)
        (self.disk / commit / "installed").touch()

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
            ["bash", self.root / "vm" / "shutdown-script"], check=True, timeout=300,
            env={**os.environ, "ANIMALS_ROOT": str(self.disk)},
        )  # fmt: skip

    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()

    def log(self) -> str:
        return (self.disk / "startup.log").read_text()

    def trainer(self) -> int:
        """The process that trains in the VM now."""
        found = subprocess.run(
            ["pgrep", "--full", f"trainer.main --data_dir={self.bucket}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(found.stdout)


def wait_until(condition: Callable[[], object], cloud: Cloud, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, cloud.log()
        time.sleep(0.05)


GROUPS = "gcloud compute instance-groups managed"
LEAVES_GROUP = [
    f"{GROUPS} abandon-instances animals-first --instances=animals-first-x1y2 --zone=us-central1-a",
    f"{GROUPS} wait-until animals-first --stable --timeout=300 --zone=us-central1-a",
    f"{GROUPS} delete animals-first --zone=us-central1-a --quiet",
    "gcloud compute instance-templates delete animals-first --quiet",
]
DELETES_ITSELF = "gcloud compute instances delete animals-first-x1y2 --zone=us-central1-a --quiet"


def ending(calls: list[str]) -> list[str]:
    """What a VM does at its end, the copies of its log aside."""
    last = max(i for i, call in enumerate(calls) if "default-action-on-vm-failure" in call)
    return [call for call in calls[last + 1 :] if " storage " not in call]


def test_vm_is_taken_away_is_created_again_and_deletes_itself(
    server: MetadataServer,  # noqa: F811
    dataset: Path,
    long_run: Path,
    long_recipe: tuple[str, ...],
    tmp_path: Path,
) -> None:
    cloud = Cloud(tmp_path)
    cloud.bucket.mkdir()
    (cloud.bucket / "data").symlink_to(dataset)
    said = cloud.launch(*long_recipe)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True,
        cwd=miniature.REPOSITORY,
    ).stdout.strip()  # fmt: skip
    copied, template, group = cloud.calls()
    assert f"Stop:     python -m launch.stop --job_dir={tmp_path}/job" in said
    source = f"gs://bucket/runs/first.launch/source-{commit[:12]}.tar.gz"
    assert copied == f"gcloud storage cp {tmp_path}/job/source-{commit[:12]}.tar.gz {source}"
    assert template.startswith("gcloud compute instance-templates create animals-first --")
    assert group.startswith(f"{GROUPS} create animals-first --zone=us-central1-a")

    # Google's notice, and soon after it the end of the machine, while it trains.
    kept = cloud.bucket / "runs/first/checkpoints"
    vm = cloud.boot(server.host)
    wait_until(lambda: list(kept.glob("*.npz")), cloud)
    server.preempted.set()
    cloud.shut_down()
    assert vm.wait(300) == 42, cloud.log()
    assert ending(cloud.calls()) == ["poweroff"]
    stopped_at = max(kept.iterdir()).name

    # Another VM has only the log of the first. Its trainer is told to stop, and is started again.
    server.preempted.clear()
    (cloud.disk / "startup.log").unlink()
    vm = cloud.boot(server.host)
    wait_until(lambda: max(kept.glob("*.npz")).name > stopped_at, cloud)
    os.kill(cloud.trainer(), signal.SIGTERM)
    assert vm.wait(600) == 0, cloud.log()
    log = cloud.log()
    assert f"Resumed at step {int(stopped_at[5:13])}" in log
    assert log.count("The trainer ended with exit code 42") == 2
    assert log.count("Installing the project at") == 1
    assert ending(cloud.calls()) == [*LEAVES_GROUP, DELETES_ITSELF]
    for one, other in zip(
        weights_of(long_run), weights_of(cloud.bucket / "runs/first"), strict=True
    ):
        np.testing.assert_array_equal(other, one)
    assert figures_of(cloud.bucket / "runs/first") == figures_of(long_run)
    assert (cloud.bucket / "runs/first.launch/startup.log").read_text() in log

    # The trainer refuses the same run with other settings: the VM fails, and ends for good.
    history = (cloud.bucket / "runs/first/history.csv").read_bytes()
    cloud.launch(*long_recipe, "--seed=1")
    assert cloud.boot(server.host).wait(600) == 1
    assert "The workdir holds another run" in cloud.log()
    assert ending(cloud.calls()) == [*LEAVES_GROUP, DELETES_ITSELF]
    assert (cloud.bucket / "runs/first/history.csv").read_bytes() == history


FAILS, DONE = "exit 1", "exit 0"
STOPPABLE = "trap 'exit 42' TERM; touch $CLOUD/ready; while true; do sleep 0.1; done"
MAX_SLEEP = 'sleep "$MAX_SECONDS"'


@pytest.mark.parametrize(
    ("options", "trainer", "code", "ends", "says"),
    [
        # What has failed is not created again.
        (("--spot",), FAILS, 1, [*LEAVES_GROUP, DELETES_ITSELF], "Done with exit code 1"),
        (("--spot", "--when_done=stop"), DONE, 0, [*LEAVES_GROUP, "poweroff"], "Powering off"),
        ((), DONE, 0, [DELETES_ITSELF], "Deleting the VM"),
        (("--when_done=stop",), DONE, 0, ["poweroff"], "Done with exit code 0"),
        (("--spot", "--max_hours=1"), STOPPABLE, 42, [*LEAVES_GROUP, DELETES_ITSELF],
         "The job has run for 1 s"),
        # A service account without rights: the group has never begun to repair.
        (("--spot", "without_rights"), DONE, 0, [LEAVES_GROUP[0], "poweroff"],
         "The VM could not leave the group animals-first"),
        (("without_rights",), DONE, 0, [DELETES_ITSELF, "poweroff"], "could not be deleted"),
        # Somebody stops the VM, or its host is to be mended: it may be started again.
        ((), STOPPABLE, 42, ["poweroff"], "taken away or stopped"),
    ],
)  # fmt: skip
def test_vm_ends_as_it_should(
    options: tuple[str, ...], trainer: str, code: int, ends: list[str], says: str,
    server: MetadataServer, tmp_path: Path,  # noqa: F811
) -> None:  # fmt: skip
    cloud = Cloud(tmp_path)
    cloud.launch(options=tuple(option for option in options if option != "without_rights"))
    if "without_rights" in options:
        (tmp_path / "without_rights").touch()
    script = tmp_path / "vm/startup-script"
    text = script.read_text().replace("MAX_SECONDS='3600'", "MAX_SECONDS='1'")
    assert MAX_SLEEP in text
    ready = "{ sleep 1; until [[ -e $CLOUD/ready ]]; do sleep 0.1; done; }"
    script.write_text(text.replace(MAX_SLEEP, ready))  # The trainer can be stopped by then.
    cloud.install(trainer)
    vm = cloud.boot(server.host)
    if trainer == STOPPABLE and "--max_hours=1" not in options:
        wait_until(lambda: (tmp_path / "ready").exists(), cloud)
        cloud.shut_down()
    assert vm.wait(300) == code, cloud.log()
    after = [call for call in cloud.calls() if " create " not in call and " storage " not in call]
    repairs = [call for call in after if call.endswith("--default-action-on-vm-failure=repair")]
    assert after == [*repairs, *ends]
    assert len(repairs) == ("--spot" in options)
    assert says in cloud.log()
    assert says in (cloud.bucket / "runs/first.launch/startup.log").read_text()


def test_vm_that_may_not_write_to_the_bucket_is_off_and_says_so_on_its_disk(
    tmp_path: Path,
) -> None:
    cloud = Cloud(tmp_path)
    cloud.launch()
    (tmp_path / "read_only").touch()
    cloud.install(FAILS)
    assert cloud.boot("127.0.0.1:9").wait(300) == 1
    assert ending(cloud.calls())[-1] == "poweroff"
    assert not any("instances delete" in call for call in cloud.calls())
    assert "is on this VM alone" in cloud.log()
    assert "could not be deleted" not in cloud.log()
    assert not (cloud.bucket / "runs/first.launch/startup.log").exists()


def test_vm_without_its_gpus_ends_with_a_line(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    cloud.launch(options=("--gpus=1",))
    cloud.install(DONE)
    assert cloud.boot("127.0.0.1:9").wait(300) != 0
    says = "Of 1 GPUs 0 are visible"
    assert says in cloud.log()
    assert says in (cloud.bucket / "runs/first.launch/startup.log").read_text()


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
