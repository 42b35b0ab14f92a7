"""The workers of a run, as whatever started us describes them. Standard library only.

Each launcher tells its processes in variables of their environment who they are. In the order in
which they are asked:

- `TF_CONFIG`: Vertex AI, Kubeflow's TFJob, Ray Train, or a person.
- SkyPilot: `SKYPILOT_NODE_IPS`, `SKYPILOT_NODE_RANK`.
- SageMaker: `SM_HOSTS`, `SM_CURRENT_HOST`.
- Kubernetes, an indexed Job or a JobSet: `JOB_COMPLETION_INDEX`, and `WORKER_HOSTS`, which the
  manifest sets to the names of all pods, separated by commas.
- Slurm, a step that srun started: `SLURM_STEP_NODELIST`, `SLURM_PROCID`.
"""

import dataclasses
import itertools
import json
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from trainer.distribute.hostlist import expand_hostlist

PORT = 29400  # Where machines or pods are the run's own.
WORKER_HOSTS = "WORKER_HOSTS"

# Slurm's jobs may share hosts, so each has ports of its own, below those that Linux hands out to
# clients. One job has as many ports as workers: they may share a host too.
_SLURM_PORTS = range(12_288, 32_768)
_PORTS_PER_JOB = 64

# How launchers of processes that find each other by other means say how many they started.
_COPIES = {
    "OMPI_COMM_WORLD_SIZE": "Open MPI's mpirun",
    "PMI_SIZE": "an MPI launcher such as mpiexec",
    "MV2_COMM_WORLD_SIZE": "MVAPICH2's mpirun",
    "WORLD_SIZE": "torchrun or a launcher like it",
}

_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy")

_CHIEF, _WORKER = ("chief", "master"), "worker"

Environment = Mapping[str, str]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """The workers of a run, and which of them this process is.

    Attributes:
        launcher: Who says so.
        addresses: `host:port` of each worker, in the order of their ranks.
        rank: This worker's; 0 is the chief, which alone writes.
        has_own_gpus: Whether the launcher shows each of a host's workers other GPUs.

    Raises:
        ValueError: if the addresses or the rank contradict each other.
    """

    launcher: str
    addresses: tuple[str, ...]
    rank: int
    has_own_gpus: bool = False

    def __post_init__(self) -> None:
        for address in self.addresses:
            if not re.fullmatch(r"[^\s:]+:\d+|\[[0-9a-fA-F:.]+\]:\d+", address):
                raise _contradiction(self.launcher, "An address is host:port", address)
        if len(set(self.addresses)) < len(self.addresses):
            raise _contradiction(
                self.launcher, "Each worker needs an address of its own", ",".join(self.addresses)
            )
        if not 0 <= self.rank < len(self.addresses):
            raise _contradiction(
                self.launcher,
                f"The rank of one of {len(self.addresses)} workers is below their number",
                f"rank {self.rank}",
            )

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes for all."""
        return self.rank == 0

    @property
    def workers_on_host(self) -> list[int]:
        """The ranks of the workers on this worker's host."""
        hosts = [address.rpartition(":")[0] for address in self.addresses]
        return [rank for rank, host in enumerate(hosts) if host == hosts[self.rank]]

    def own_gpus(self, visible: Sequence[T]) -> Sequence[T]:
        """Returns this worker's part of the GPUs that it sees, none of them a neighbour's too.

        Raises:
            ValueError: if they cannot be shared out evenly.
        """
        neighbours = self.workers_on_host
        if self.has_own_gpus or len(neighbours) == 1:
            return visible
        count, rest = divmod(len(visible), len(neighbours))
        if rest:
            raise ValueError(
                "The workers of a host share its GPUs evenly. Received: "
                f"{len(visible)} GPUs, {len(neighbours)} workers. Start a worker a host, or a GPU."
            )
        start = neighbours.index(self.rank) * count
        return visible[start : start + count]

    def check_port(self) -> None:
        """Refuses to start where another process listens at this worker's port.

        Raises:
            RuntimeError: if one does.
        """
        address = self.addresses[self.rank]
        family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # What is left of a run that has just ended is in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", int(address.rpartition(":")[2])))
            except OSError as error:
                raise RuntimeError(
                    f"Worker {self.rank} cannot listen at {address}: {error.strerror}. Is an "
                    "earlier run still ending, or another program at that port?"
                ) from error


def find_cluster(environ: Environment) -> Cluster | None:
    """Returns the cluster that a launcher describes, or None where this process trains alone.

    Raises:
        ValueError: if the description is malformed, contradicts itself, or gives this process a
            part that it cannot play; or if it is one of several copies that nothing describes.
    """
    for read in (_from_tf_config, _from_skypilot, _from_sagemaker, _from_kubernetes, _from_slurm):
        cluster = read(environ)
        if cluster:
            # One worker alone needs no cluster: its strategy is that of a single machine.
            if len(cluster.addresses) > 1:
                return cluster
            break
    _refuse_copies(environ)
    return None


def without_proxies(cluster: Cluster, environ: Environment) -> dict[str, str]:
    """Returns the variables that keep what workers tell each other from going through a proxy.

    gRPC looks at `no_grpc_proxy`, and only where there is none at `no_proxy`. Empty where no proxy
    is set.
    """
    if not any(environ.get(name) or environ.get(name.upper()) for name in _PROXIES):
        return {}
    hosts = [address.rpartition(":")[0].strip("[]") for address in cluster.addresses]
    everywhere = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    before = {
        "no_proxy": everywhere,
        "NO_PROXY": environ.get("NO_PROXY") or everywhere,
        "no_grpc_proxy": environ.get("no_grpc_proxy") or everywhere,
    }
    return {
        name: ",".join(dict.fromkeys([*filter(None, value.split(",")), *hosts]))
        for name, value in before.items()
    }


def _refuse_copies(environ: Environment) -> None:
    """Refuses to be one of several processes that know nothing of each other."""
    for name, launcher in _COPIES.items():
        count = environ.get(name, "")
        if count.isdecimal() and int(count) > 1:
            raise ValueError(
                f"{count} copies of one command were started, by {launcher}, and each would train "
                f"alone. Received: {name}={count}. Start it once on a machine, it uses all GPUs "
                "there (--num_gpus); start workers on several machines with srun, SkyPilot, "
                f"Kubernetes or TF_CONFIG. If there is one copy, unset {name}."
            )


def _from_tf_config(environ: Environment) -> Cluster | None:
    text = environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    config = _parse_json("TF_CONFIG", text, dict)
    jobs, task = config.get("cluster"), config.get("task")
    if not jobs:
        return None  # Also how a service says that there is one machine.
    if not (isinstance(jobs, dict) and all(_is_list_of_strings(job) for job in jobs.values())):
        raise _contradiction("TF_CONFIG", "`cluster` maps each kind of task to addresses", jobs)
    if not isinstance(task, dict) or not re.fullmatch(r"\d+", str(task.get("index"))):
        raise _contradiction("TF_CONFIG", "`task` has a `type` and an `index`", task)
    kind, index = task.get("type"), int(task["index"])
    chiefs = [address for name in _CHIEF for address in jobs.get(name, [])]
    if kind not in (*_CHIEF, _WORKER) or "ps" in jobs:
        raise _contradiction(
            "TF_CONFIG",
            "All tasks are workers, at most one of them as `chief`: there is nothing to do for "
            "an evaluator or a parameter server (ps)",
            f"task {kind}, cluster of {', '.join(jobs)}",
        )
    if len(chiefs) > 1 or index >= len(jobs.get(kind, [])):
        raise _contradiction("TF_CONFIG", "The cluster has one chief, and this task", text)
    return Cluster(
        launcher="TF_CONFIG",
        addresses=(*chiefs, *jobs.get(_WORKER, [])),
        rank=index + len(chiefs) * (kind == _WORKER),
        has_own_gpus="CUDA_VISIBLE_DEVICES" in environ,
    )


def _from_skypilot(environ: Environment) -> Cluster | None:
    hosts = environ.get("SKYPILOT_NODE_IPS", "").split()
    if not hosts:
        return None
    if environ.get("SKYPILOT_NUM_NODES", str(len(hosts))) != str(len(hosts)):
        raise _contradiction(
            "SkyPilot",
            "SKYPILOT_NODE_IPS has as many lines as SKYPILOT_NUM_NODES says",
            f"{environ['SKYPILOT_NUM_NODES']} nodes, {' '.join(hosts)}",
        )
    rank = _number(environ, "SKYPILOT_NODE_RANK") if len(hosts) > 1 else 0
    return _one_on_each("SkyPilot", hosts, rank)


def _from_sagemaker(environ: Environment) -> Cluster | None:
    if not environ.get("SM_HOSTS"):
        return None
    hosts = _parse_json("SM_HOSTS", environ["SM_HOSTS"], list)
    host = environ.get("SM_CURRENT_HOST")
    if host not in hosts:
        raise _contradiction(
            "SageMaker", f"SM_CURRENT_HOST is one of {environ['SM_HOSTS']}", repr(host)
        )
    return _one_on_each("SageMaker", hosts, hosts.index(host))


def _from_kubernetes(environ: Environment) -> Cluster | None:
    if "JOB_COMPLETION_INDEX" not in environ:
        return None
    rank = _number(environ, "JOB_COMPLETION_INDEX")
    hosts = [host for host in re.split(r"[\s,]+", environ.get(WORKER_HOSTS, "")) if host]
    if not hosts and rank == 0:
        return None  # A job of one pod.
    if not hosts:
        raise _contradiction(
            "Kubernetes",
            f"{WORKER_HOSTS} names the pods of a job that has several, separated by commas",
            f"{WORKER_HOSTS} unset, JOB_COMPLETION_INDEX={rank}",
        )
    return _one_on_each("Kubernetes", hosts, rank)


def _from_slurm(environ: Environment) -> Cluster | None:
    # An interactive shell or a batch script has a job around it but no step: it trains alone.
    if not environ.get("SLURM_STEP_NODELIST") or "SLURM_PROCID" not in environ:
        return None
    hosts = expand_hostlist(environ["SLURM_STEP_NODELIST"])
    # A container may pass on only some of the variables; those of the job are often the step's.
    tasks = _tasks_per_node(
        environ.get("SLURM_STEP_TASKS_PER_NODE") or environ.get("SLURM_TASKS_PER_NODE", "")
    )
    rank = _number(environ, "SLURM_PROCID")
    if len(hosts) != len(tasks):
        raise _contradiction(
            "Slurm",
            "SLURM_STEP_TASKS_PER_NODE has a number for each host of SLURM_STEP_NODELIST",
            f"{tasks}, {environ['SLURM_STEP_NODELIST']}",
        )
    # Slurm counts the tasks host by host; the port of a worker is that of its rank.
    by_rank = [(node, local) for node, count in enumerate(tasks) for local in range(count)]
    here = tuple(int(environ.get(name, -1)) for name in ("SLURM_NODEID", "SLURM_LOCALID"))
    if -1 not in here and rank < len(by_rank) and by_rank[rank] != here:
        raise _contradiction(
            "Slurm",
            "Tasks are counted host by host: start them with `srun --distribution=block`",
            f"task {rank} is task {here[1]} of host {here[0]}",
        )
    first_port = _slurm_port(
        _number(environ, "SLURM_JOB_ID" if "SLURM_JOB_ID" in environ else "SLURM_JOBID")
    )
    return Cluster(
        launcher="Slurm",
        addresses=tuple(f"{hosts[node]}:{first_port + r}" for r, (node, _) in enumerate(by_rank)),
        rank=rank,
        has_own_gpus=_are_gpus_dealt_out(environ),
    )


def _are_gpus_dealt_out(environ: Environment) -> bool:
    """Whether srun was told to show each task GPUs of its own."""
    return (
        "SLURM_GPUS_PER_TASK" in environ
        or "gpu" in environ.get("SLURM_TRES_PER_TASK", "")
        or environ.get("SLURM_GPU_BIND", "").startswith(("per_task", "single", "map", "mask"))
    )


def _tasks_per_node(text: str) -> list[int]:
    """`2(x3),1` is 2, 2, 2, 1."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise _contradiction("Slurm", "SLURM_STEP_TASKS_PER_NODE is like 2(x3),1", repr(text))
        counts += itertools.repeat(int(match[1]), int(match[2] or 1))
    return counts


def _slurm_port(job_id: int) -> int:
    jobs = len(_SLURM_PORTS) // _PORTS_PER_JOB
    return _SLURM_PORTS.start + job_id % jobs * _PORTS_PER_JOB


def _one_on_each(launcher: str, hosts: Sequence[str], rank: int) -> Cluster:
    addresses = tuple(host if ":" in host else f"{host}:{PORT}" for host in hosts)
    return Cluster(launcher=launcher, addresses=addresses, rank=rank)


def _number(environ: Environment, name: str) -> int:
    text = environ.get(name, "")
    if not text.isdecimal():
        raise ValueError(f"{name} must be a number. Received: {text!r}. Set it, or unset the rest.")
    return int(text)


def _parse_json(name: str, text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} must be JSON ({error}). Received: {text!r}. Mend it.") from None
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a JSON {kind.__name__}. Received: {text!r}. Mend it.")
    return value


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _contradiction(launcher: str, expectation: str, received: Any) -> ValueError:
    return ValueError(
        f"{expectation}. Received from {launcher}: {received}. "
        "Mend it, or unset it to train on this machine alone."
    )
