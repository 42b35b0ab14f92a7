"""Puts a training run on machines: `python -m launch.run --backend=... -- TRAINER FLAGS`."""

from absl import flags

from cli import command, paths
from launch import gcp
from launch.config import BACKENDS, LaunchConfig
from launch.planning import plan

FLAGS = flags.FLAGS

_DEFAULT = LaunchConfig  # Each default stands once, in the dataclass.

flags.DEFINE_enum(
    "backend",
    None,
    BACKENDS,
    "gcp: one VM of Google's cloud; sky: SkyPilot, on any cloud; slurm: a Slurm cluster; k8s: a "
    "JobSet on Kubernetes.",
    required=True,
)
flags.DEFINE_string(
    "name", _DEFAULT.name, "Of the job; unset: `animals-` and the last part of --workdir."
)
flags.DEFINE_integer(
    "num_nodes", _DEFAULT.num_nodes, "Machines that train together.", lower_bound=1
)
flags.DEFINE_integer("gpus", _DEFAULT.gpus, "GPUs of each; 0: CPUs alone.", lower_bound=0)
flags.DEFINE_bool("dry_run", _DEFAULT.dry_run, "Print the files and commands, and submit nothing.")
paths.define(
    "write_to",
    _DEFAULT.write_to,
    "Folder for the job's files, to keep and edit; unset: jobs/NAME. With --dry_run they are "
    "written only if it is set.",
)
flags.DEFINE_float(
    "max_hours",
    _DEFAULT.max_hours,
    "gcp, sky, k8s: after so many each start of the job is stopped, with a checkpoint, and not "
    "started again. Unset: no limit. slurm has --time_limit.",
)
flags.DEFINE_string(
    "accelerator",
    _DEFAULT.accelerator,
    f"gcp, sky: kind of GPU, in SkyPilot's spelling; gcp knows {', '.join(gcp.MACHINES)}.",
)
flags.DEFINE_bool(
    "spot", _DEFAULT.spot, "gcp, sky: machines that cost a third and may be taken away at any time."
)
flags.DEFINE_integer("disk_gb", _DEFAULT.disk_gb, "gcp, sky: the disk's size.", lower_bound=1)
flags.DEFINE_string("project", _DEFAULT.project, "gcp: unset: that of `gcloud config`.")
flags.DEFINE_string("zone", _DEFAULT.zone, "gcp: where the VM runs.")
flags.DEFINE_string(
    "machine_type", _DEFAULT.machine_type, "gcp: unset: one that takes the GPUs of --accelerator."
)
flags.DEFINE_string(
    "image_family",
    _DEFAULT.image_family,
    f"gcp: with NVIDIA's driver and Python 3.11 or newer; unset: {gcp.GPU_IMAGE.family}, or "
    f"{gcp.CPU_IMAGE.family} for --gpus=0.",
)
flags.DEFINE_string("image_project", _DEFAULT.image_project, "gcp: goes with --image_family.")
flags.DEFINE_string(
    "service_account",
    _DEFAULT.service_account,
    "gcp: whose rights the VM has: to read and write the buckets. Unset: the project's default.",
)
flags.DEFINE_integer(
    "sync_seconds",
    _DEFAULT.sync_seconds,
    "gcp: how often the run is copied to its bucket; also whenever the trainer ends.",
    lower_bound=1,
)
flags.DEFINE_string(
    "infra", _DEFAULT.infra, "sky: a cloud, such as gcp/us-central1; unset: the cheapest that fits."
)
flags.DEFINE_integer(
    "cpus", _DEFAULT.cpus, "slurm, k8s: cores of each node; unset: 8 for each GPU.", lower_bound=1
)
flags.DEFINE_string("partition", _DEFAULT.partition, "slurm: unset: the cluster's default.")
flags.DEFINE_string(
    "time_limit", _DEFAULT.time_limit, "slurm: of each start of the job, as 24:00:00."
)
paths.define(
    "python", _DEFAULT.python, "slurm: the Python on the nodes that has this project installed."
)
flags.DEFINE_integer(
    "build_tasks",
    _DEFAULT.build_tasks,
    "slurm: so many tasks build a dataset instead; behind -- stand the flags of data_prep.build.",
    lower_bound=1,
)
flags.DEFINE_string("namespace", _DEFAULT.namespace, "k8s: where the JobSet goes.")
flags.DEFINE_string(
    "image",
    _DEFAULT.image,
    "k8s: what `docker build` made of this project, in a registry that the cluster pulls from.",
)
flags.DEFINE_string(
    "claim", _DEFAULT.claim, "k8s: the PersistentVolumeClaim (ReadWriteMany) with data and runs."
)
flags.DEFINE_string(
    "mount",
    _DEFAULT.mount,
    "k8s: where pods see it; unset: the folder that --data_dir and --workdir share.",
)


def main(arguments: list[str]) -> None:
    """Describes the job that the flags ask for, and submits it."""
    config = command.config_from_flags(LaunchConfig)
    job = plan(config, arguments)
    if not config.dry_run:
        job.submit()
        print(f"Submitted. The job's files are in {job.folder}.\n{job.advice()}")
        return
    if config.write_to:
        job.write()
    print(job.describe(), end="")


def run() -> None:
    """The console script."""
    command.run(
        main,
        hint="The trainer's flags stand behind --; pass --help to see the others.",
        arguments="-- TRAINER FLAGS",
    )


if __name__ == "__main__":
    run()
