"""What a launch is asked for: one frozen, validated record. Standard library only."""

import dataclasses
import re
import sys

BACKENDS = ("gcp", "sky", "slurm", "k8s")

# Whose options these are; those that are not listed mean something to every backend.
_BACKENDS_OF = {
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
    "service_account": ("gcp",),
    "sync_seconds": ("gcp",),
    "infra": ("sky",),
    "partition": ("slurm",),
    "time_limit": ("slurm",),
    "python": ("slurm",),
    "build_tasks": ("slurm",),
    "namespace": ("k8s",),
    "image": ("k8s",),
    "claim": ("k8s",),
    "mount": ("k8s",),
}
_INSTEAD = {("slurm", "max_hours"): "Slurm has --time_limit."}
_TIME_LIMIT = re.compile(
    r"\d+(:\d+(:\d+)?)?|\d+-\d+(:\d+(:\d+)?)?|infinite|unlimited", re.ASCII | re.IGNORECASE
)
_CPUS_PER_GPU = 8  # They decode JPEGs, at some 1,000 images a second each.


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchConfig:
    """Options of `python -m launch.run`; its `--help` says what each one means.

    Raises:
        ValueError: if an option is out of range, is another backend's, or two do not go together.
    """

    backend: str
    name: str | None = None
    num_nodes: int = 1
    gpus: int = 1
    dry_run: bool = False
    write_to: str | None = None
    max_hours: float | None = None
    # Cloud machines.
    accelerator: str = "L4"
    spot: bool = False
    disk_gb: int = 100
    # Google's cloud.
    project: str | None = None
    zone: str = "us-central1-a"
    machine_type: str | None = None
    image_family: str | None = None
    image_project: str | None = None
    service_account: str | None = None
    sync_seconds: int = 120
    # SkyPilot.
    infra: str | None = None
    # Machines that many use.
    cpus: int | None = None
    # Slurm.
    partition: str | None = None
    time_limit: str = "24:00:00"
    python: str = sys.executable
    build_tasks: int | None = None
    # Kubernetes.
    namespace: str = "default"
    image: str | None = None
    claim: str = "animals"
    mount: str | None = None

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(
                f"backend must be one of {', '.join(BACKENDS)}. Received: {self.backend!r}."
            )
        for name in ("num_nodes", "disk_gb", "sync_seconds", "cpus", "build_tasks"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more. Received: {name}={value}.")
        if self.gpus < 0:
            raise ValueError(f"gpus must be 0 or more. Received: gpus={self.gpus}.")
        if self.name is not None and not re.fullmatch(
            r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", self.name
        ):
            raise ValueError(
                "name must be lower-case letters, digits and dashes, at most 40, and begin with a "
                f"letter, as clouds and Kubernetes want it. Received: name={self.name!r}."
            )
        if not _TIME_LIMIT.fullmatch(self.time_limit):
            raise ValueError(
                "time_limit must be as Slurm has it, such as 90 (minutes), 24:00:00, 2-12 (days, "
                f"hours) or 2-12:30:00. Received: time_limit={self.time_limit!r}."
            )
        if self.max_hours is not None and not 0.01 <= self.max_hours <= 2880:
            raise ValueError(
                "max_hours must be between 0.01 and 2880, which is the longest that Google's cloud "
                f"takes. Received: max_hours={self.max_hours}."
            )
        if self.backend == "gcp" and self.num_nodes > 1:
            raise ValueError(
                "gcp makes one VM. "
                f"Received: num_nodes={self.num_nodes}. Use --backend=sky for several, or --gpus."
            )
        self._refuse_options_of_others()
        if self.backend == "k8s" and not self.image:
            raise ValueError(
                "k8s needs --image: what `docker build` made of this project, in a registry that "
                "the cluster pulls from, such as REGISTRY/coco-animals:1. Received none."
            )

    def _refuse_options_of_others(self) -> None:
        """An option that the backend does not know would be dropped without a word."""
        for field in dataclasses.fields(self):
            owners = _BACKENDS_OF.get(field.name, BACKENDS)
            value = getattr(self, field.name)
            if self.backend not in owners and value != field.default:
                raise ValueError(
                    f"{field.name} is an option of {' and '.join(owners)}. Received: "
                    f"backend={self.backend}, {field.name}={value!r}. "
                    f"{_INSTEAD.get((self.backend, field.name), 'Leave it out.')}"
                )

    @property
    def max_seconds(self) -> int | None:
        """How long a start of the job may last."""
        return None if self.max_hours is None else round(self.max_hours * 3600)

    @property
    def cpus_of_node(self) -> int:
        """How many cores a node of the job gets."""
        return self.cpus or _CPUS_PER_GPU * max(self.gpus, 1)
