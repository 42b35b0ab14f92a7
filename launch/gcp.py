"""One VM of Google's cloud, which trains, keeps its run in a bucket and powers itself off."""

import shlex
from pathlib import Path

from cli.command import FlagsError
from launch import source
from launch.config import LaunchConfig
from launch.gcp_machines import CPU_IMAGE, CPU_MACHINE, GPU_IMAGE, MACHINES, TYPES
from launch.job import Job, render
from launch.trainer_flags import TrainerFlags


def describe(config: LaunchConfig, trainer: TrainerFlags, folder: Path) -> Job:
    """Returns the job: the project's source into the run's bucket, then the VM.

    Raises:
        FlagsError: if the data or the run are in no bucket, or no machine takes the GPUs.
        RuntimeError: if the project's commit cannot be told.
    """
    data, run = trainer.config.data_dir.rstrip("/"), trainer.config.workdir.rstrip("/")
    for name, path in (("data_dir", data), ("workdir", run)):
        if not path.startswith("gs://"):
            raise FlagsError(
                f"A VM of Google's cloud sees no folder of this machine: --{name} must be in a "
                f"bucket, such as gs://BUCKET/{path.lstrip('~/')}. Received: {path}."
            )
    trainer.check_weights()
    commit = source.commit()
    archive = f"{folder}/source-{commit[:12]}.tar.gz"
    uploaded = f"{run}.launch/source-{commit[:12]}.tar.gz"
    values = {
        "name": config.name,
        "commit": commit,
        "source": uploaded,
        "extras": "[gpu]" if config.gpus else "",
        "gpus": config.gpus,
        "data": data,
        "run": run,
        "flags": trainer.elsewhere(),
        "sync_seconds": config.sync_seconds,
    }
    return Job(
        folder=folder,
        files={
            "startup.sh": render("gcp_startup.sh", values),
            "shutdown.sh": render("gcp_shutdown.sh", values),
        },
        commands=(
            ("git", "-C", str(source.ROOT), "archive", "--format=tar.gz", "-o", archive, commit),
            ("gcloud", "storage", "cp", archive, uploaded),
            _create(config, folder),
        ),
        client="gcloud",
        install="Install the Google Cloud CLI (https://cloud.google.com/sdk/docs/install).",
        watch=_on_vm("tail-serial-port-output", config),
        stop=_on_vm("stop", config),
        clean_up=_on_vm("delete", config),
        warning=source.uncommitted(),
    )


def _on_vm(verb: str, config: LaunchConfig) -> str:
    """Returns the shell command that does this with the VM."""
    words = ["gcloud", "compute", "instances", verb, str(config.name), f"--zone={config.zone}"]
    return shlex.join(words + ([f"--project={config.project}"] if config.project else []))


def _create(config: LaunchConfig, folder: Path) -> tuple[str, ...]:
    image = GPU_IMAGE if config.gpus else CPU_IMAGE
    options = {
        "project": config.project,
        "zone": config.zone,
        "machine-type": config.machine_type or _machine_type(config),
        "accelerator": _accelerator(config),
        # A VM with a GPU cannot be moved to another host while it runs.
        "maintenance-policy": "TERMINATE" if config.gpus or config.spot else None,
        "provisioning-model": "SPOT" if config.spot else "STANDARD",
        "instance-termination-action": "STOP" if config.spot or config.max_hours else None,
        "max-run-duration": f"{config.max_seconds}s" if config.max_hours else None,
        "image-family": config.image_family or image.family,
        "image-project": config.image_project or image.project,
        "boot-disk-size": f"{config.disk_gb}GB",
        "boot-disk-type": "pd-balanced",
        "service-account": config.service_account,
        "scopes": "cloud-platform",
        "metadata-from-file": (
            f"startup-script={folder}/startup.sh,shutdown-script={folder}/shutdown.sh"
        ),
    }
    given = (f"--{name}={value}" for name, value in options.items() if value is not None)
    return ("gcloud", "compute", "instances", "create", str(config.name), *given)


def _accelerator(config: LaunchConfig) -> str | None:
    if not config.gpus:
        return None
    kind = TYPES.get(config.accelerator, config.accelerator)
    return f"type={kind},count={config.gpus}"


def _machine_type(config: LaunchConfig) -> str:
    if not config.gpus:
        return CPU_MACHINE
    machines = MACHINES.get(config.accelerator)
    if machines is None:
        raise FlagsError(
            f"Of the accelerators {', '.join(MACHINES)} the machine is known; for another one pass "
            f"--machine_type too. Received: --accelerator={config.accelerator}."
        )
    if config.gpus not in machines:
        raise FlagsError(
            f"A machine takes {', '.join(map(str, machines))} GPUs of the kind "
            f"{config.accelerator}. Received: --gpus={config.gpus}."
        )
    return machines[config.gpus]
