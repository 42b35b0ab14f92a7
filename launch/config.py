"""What a launch is asked for: one frozen, validated record, which `run`'s flags fill."""

import dataclasses
import re
import sys
from typing import Annotated, Literal

from cli import flags
from cli.flags import LocalPath, NonNegative, Positive, Range, matching
from launch.gcp_machines import CPU_IMAGE, GPU_IMAGE, LONGEST, MACHINES

# Whose options these are; those that are not listed mean something to every backend.
BACKENDS_BY_OPTION = {
    "accelerator": ("gcp", "sky"),
    "spot": ("gcp", "sky"),
    "disk_gb": ("gcp", "sky"),
    "max_hours": ("gcp", "sky", "k8s"),
    "cpus": ("slurm", "k8s"),
    "project": ("gcp",),
    "zone": ("gcp",),
    "machine_type": ("gcp",),
    "image_family": ("gcp",),
    "image_project": ("gcp",),
    "service_account": ("gcp", "k8s"),
    "when_done": ("gcp",),
    "infra": ("sky",),
    "partition": ("slurm",),
    "time_limit": ("slurm",),
    "python": ("slurm",),
    "build_tasks": ("slurm",),
    "namespace": ("k8s",),
    "image": ("k8s",),
    "claim": ("k8s",),
    "mount": ("k8s",),
    "secret": ("k8s",),
}
_INSTEAD = {("slurm", "max_hours"): "Slurm has --time_limit."}
_CPUS_PER_GPU = 8  # They decode JPEGs, at some 1,000 images a second each.

Name = Annotated[
    str,
    matching(
        r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?",
        "must be lower-case letters, digits and dashes, at most 40, and begin with a letter, as "
        "clouds and Kubernetes want it",
    ),
]
_MaxHours = Annotated[
    float,
    Range(0.01, LONGEST // 3600, ", which is the longest that Google's cloud takes", in_help=False),
]
_TimeLimit = Annotated[
    str,
    matching(
        r"\d+(:\d+(:\d+)?)?|\d+-\d+(:\d+(:\d+)?)?|infinite|unlimited",
        "must be as Slurm has it, such as 90 (minutes), 24:00:00, 2-12 (days, hours) or 2-12:30:00",
        re.ASCII | re.IGNORECASE,
    ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchConfig:
    """Options of `python -m launch.run`, each above its help.

    Raises:
        ValueError: if an option is out of range, is another backend's, or two do not go together.
    """

    backend: Literal["gcp", "sky", "slurm", "k8s"]
    """gcp: one VM of Google's cloud; sky: SkyPilot, on any cloud; slurm: a Slurm cluster; k8s: a
    JobSet on Kubernetes."""
    name: Name | None = None
    """Of the job; unset: `animals-` and the last part of --workdir."""
    num_nodes: Positive = 1
    """Machines that train together."""
    gpus: NonNegative = 1
    """GPUs of each; 0: CPUs alone."""
    dry_run: bool = False
    """Print the files and commands, and submit nothing."""
    write_to: LocalPath | None = None
    """Folder for the job's files, to keep and edit; unset: jobs/NAME. With --dry_run they are
    written only if it is set."""
    max_hours: _MaxHours | None = None
    """gcp, sky, k8s: after so many each start of the job is stopped, with a checkpoint, and not
    started again. Unset: no limit. slurm has --time_limit."""
    # Cloud machines.
    accelerator: str = "L4"
    f"""gcp, sky: kind of GPU, in SkyPilot's spelling; gcp knows {", ".join(MACHINES)}."""
    spot: bool = False
    """gcp, sky: machines that cost a third and may be taken away at any time; then another one
    goes on."""
    disk_gb: Positive = 100
    """gcp, sky: the disk's size."""
    # Google's cloud.
    project: str | None = None
    """gcp: unset: that of `gcloud config`."""
    zone: str = "us-central1-a"
    """gcp: where the VM runs."""
    machine_type: str | None = None
    """gcp: unset: one that takes the GPUs of --accelerator."""
    image_family: str | None = None
    f"""gcp: with NVIDIA's driver and Python 3.11 or newer; unset: {GPU_IMAGE.family}, or
    {CPU_IMAGE.family} for --gpus=0."""
    image_project: str | None = None
    """gcp: goes with --image_family."""
    when_done: Literal["delete", "stop"] = "delete"
    """gcp: what the VM does with itself once the run is done or has failed. delete: nothing is
    paid for from then on; run and log are in the bucket. stop: its disk stays, and is paid for."""
    # SkyPilot.
    infra: str | None = None
    """sky: a cloud, such as gcp/us-central1; unset: the cheapest that fits."""
    # What several have.
    service_account: str | None = None
    """gcp, k8s: whose rights the machines have, to read and write the buckets, and on gcp to delete
    the VM. Unset: the project's, or the namespace's, default."""
    cpus: Positive | None = None
    """slurm, k8s: cores of each node; unset: 8 for each GPU."""
    # Slurm.
    partition: str | None = None
    """slurm: unset: the cluster's default."""
    time_limit: _TimeLimit = "24:00:00"
    """slurm: of each start of the job, as 24:00:00."""
    python: LocalPath = sys.executable
    """slurm: the Python on the nodes that has this project installed."""
    build_tasks: Positive | None = None
    """slurm: so many tasks build a dataset instead; behind -- stand the flags of
    data_prep.build."""
    # Kubernetes.
    namespace: str = "default"
    """k8s: where the JobSet goes."""
    image: str | None = None
    """k8s: what `docker build` made of this project, in a registry that the cluster pulls from."""
    claim: str = "animals"
    """k8s: the PersistentVolumeClaim (ReadWriteMany) with data and runs."""
    mount: str | None = None
    """k8s: where pods see it; unset: the folder that --data_dir and --workdir share."""
    secret: str | None = None
    """k8s: a Secret whose entries pods have as variables, such as AWS_ACCESS_KEY_ID, for buckets
    that the service account cannot open."""

    def __post_init__(self) -> None:
        flags.check(self)
        self._refuse_unprintable()
        if self.backend == "gcp" and self.num_nodes > 1:
            raise ValueError(
                "gcp makes one VM. "
                f"Received: num_nodes={self.num_nodes}. Use --backend=sky for several, or --gpus."
            )
        self._refuse_foreign_options()
        if self.backend == "k8s" and not self.image:
            raise ValueError(
                "k8s needs --image: what `docker build` made of this project, in a registry that "
                "the cluster pulls from, such as REGISTRY/coco-animals:1. Received none."
            )

    def _refuse_unprintable(self) -> None:
        """A line break, say, would begin another line of a job's file."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str) and not value.isprintable():
                raise ValueError(
                    f"{field.name} has a character that a job file has no place for. Received: "
                    f"{field.name}={value!r}. Leave it out."
                )

    def _refuse_foreign_options(self) -> None:
        """An option that the backend does not know would be dropped without a word."""
        for name, owners in BACKENDS_BY_OPTION.items():
            value = getattr(self, name)
            if self.backend not in owners and value != getattr(type(self), name):
                raise ValueError(
                    f"{name} is an option of {' and '.join(owners)}. Received: "
                    f"backend={self.backend}, {name}={value!r}. "
                    f"{_INSTEAD.get((self.backend, name), 'Leave it out.')}"
                )

    @property
    def max_seconds(self) -> int | None:
        """How long a start of the job may last."""
        return None if self.max_hours is None else round(self.max_hours * 3600)

    @property
    def cpus_per_node(self) -> int:
        """Cores that each node of the job gets."""
        return self.cpus or _CPUS_PER_GPU * max(self.gpus, 1)
