"""A real Slurm cluster on this machine, for tests: two nodes on loopback, without systemd.

`with slurm.cluster(directory) as cluster:` starts the daemons and ends them by their own process
ids. `cluster.submit(...)` takes what sbatch takes; `cluster.wait(job)` returns the states it ended
in. Needs Debian's packages slurm-wlm and munge, and root, as which its daemons run.
"""

import contextlib
import dataclasses
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from tests.support.ports import free_ports

T = TypeVar("T")

DAEMONS = ("munged", "slurmctld", "slurmd")
_NODES = ("127.0.0.1", "127.0.0.2")  # Names that resolve: workers find each other by them.
_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
CredType=cred/munge
SlurmctldPidFile={root}/slurmctld.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdPidFile={root}/slurmd.%n.pid
SlurmdSpoolDir={root}/spool.%n
SlurmdLogFile={root}/slurmd.%n.log
SlurmdParameters=config_overrides
StateSaveLocation={root}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
CommunicationParameters=NoInAddrAny
KillWait=1
SchedulerParameters=batch_sched_delay=0,sched_interval=1
MinJobAge=3600
FirstJobId={first_job}
MpiDefault=none
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=2000
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=2000
PartitionName=test Nodes={nodes[0]},{nodes[1]} Default=YES MaxTime=10 State=UP
"""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster that is up.

    Attributes:
        root: Where its files and logs lie.
        environment: This process's, with SLURM_CONF: for any of Slurm's commands.
    """

    root: Path
    environment: Mapping[str, str]

    def run(self, *command: str) -> str:
        """Runs one of Slurm's commands and returns what it printed."""
        done = subprocess.run(
            command, capture_output=True, text=True, env=self.environment, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
        return done.stdout.strip()

    def submit(self, *arguments: str) -> str:
        """Submits what sbatch takes, and returns the job's id."""
        return self.run("sbatch", "--parsable", *arguments).partition(";")[0]

    def states(self, job: str) -> list[str]:
        """The state of a job, or of each task of an array, such as RUNNING or COMPLETED."""
        listed = self.run("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}",
                          "--format=%T")  # fmt: skip
        return listed.splitlines()

    def wait(self, job: str, seconds: float = 600) -> list[str]:
        """Returns the states that a job, or each task of an array, ended in."""
        under_way = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}

        def ended() -> list[str]:
            states = self.states(job)
            return [] if under_way.intersection(states) else states

        return _wait_for(ended, f"job {job}", seconds)

    def processes_of(self, job: str) -> list[str]:
        """The ids of the daemons that look after a job's processes, while there are any."""
        found = subprocess.run(
            ["pgrep", "--full", rf"^slurmstepd: \[{job}\."],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return found.stdout.split()

    def wait_for_nodes(self) -> None:
        """Returns once all nodes are idle, after those that were set down are up again."""
        _wait_for(self._are_idle, "the nodes")

    def _are_idle(self) -> bool:
        try:
            nodes = self.run("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        except RuntimeError:  # Its controller is not up yet.
            return False
        for node, state in (line.split() for line in nodes):
            if state.startswith("down"):
                self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
        return [line.split()[1] for line in nodes] == ["idle"] * len(_NODES)


def missing() -> list[str]:
    """What is needed and is not here."""
    needed = [name for name in DAEMONS if shutil.which(name) is None]
    return needed if os.geteuid() == 0 else [*needed, "root"]


@contextlib.contextmanager
def cluster(root: Path) -> Iterator[Cluster]:
    """Starts a cluster of two nodes with two cores each, and ends it.

    Args:
        root: An empty folder. Keep its path short: a socket's may not exceed 107 characters.
    """
    environment = {**os.environ, "SLURM_CONF": str(root / "slurm.conf")}
    _write_files(root)
    with contextlib.ExitStack() as daemons:
        munge = root / "munge"
        daemons.enter_context(
            _daemon(
                [
                    *("munged", "--foreground", "--force", f"--key-file={munge}/key"),
                    *(f"--socket={munge}/socket", f"--pid-file={munge}/pid"),
                    *(f"--log-file={munge}/log", f"--seed-file={munge}/seed"),
                ],
                environment,
            )
        )
        _wait_for((munge / "socket").exists, "munged")
        daemons.enter_context(_daemon(["slurmctld", "-D"], environment))
        for node in _NODES:
            daemons.enter_context(_daemon(["slurmd", "-D", "-N", node], environment))
        started = Cluster(root, environment)
        started.wait_for_nodes()
        try:
            yield started
        finally:  # Else what jobs have started would outlive the daemons.
            started.run("scancel", f"--user={getpass.getuser()}")
            started.wait_for_nodes()


def _write_files(root: Path) -> None:
    for folder in ("munge", "state", *(f"spool.{node}" for node in _NODES)):
        (root / folder).mkdir(parents=True, mode=0o700)
    (root / "munge" / "key").write_bytes(secrets.token_bytes(1024))
    (root / "munge" / "key").chmod(0o600)
    host = socket.gethostname().split(".")[0]
    config = _CONFIG.format(
        root=root,
        host=host,
        ports=free_ports(3),
        nodes=_NODES,
        first_job=secrets.randbelow(10**6) + 1,  # A job's number decides on its workers' ports.
    )
    (root / "slurm.conf").write_text(config)


@contextlib.contextmanager
def _daemon(command: list[str], environment: Mapping[str, str]) -> Iterator[None]:
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(condition: Callable[[], T], what: str, seconds: float = 300) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise TimeoutError(f"Waited {seconds:.0f} s for {what}.")
