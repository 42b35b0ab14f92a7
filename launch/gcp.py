"""A VM of Google's cloud, which trains, keeps its run in a bucket and ends itself.

One that may be taken away is the only member of a managed instance group, which is what Google has
today for a VM that is to be created again by itself: the group repairs a VM that no longer runs by
creating it from its template (https://cloud.google.com/compute/docs/instance-groups, "About
repairing VMs in a MIG"). Flex-start VMs and resize requests of a group start once, when there is
room, run for seven days at most and are not replaced; queued resources are for TPUs alone.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from buckets import urls
from cli.command import FlagsError
from launch import source, trainer_flags
from launch.config import LaunchConfig
from launch.gcp_machines import CPU_IMAGE, CPU_MACHINE, GPU_IMAGE, LONGEST, MACHINES, TYPES
from launch.job import Job, render
from launch.submitted import Commands, Submitted
from launch.trainer_flags import TrainerFlags

_GROUPS = ("gcloud", "compute", "instance-groups", "managed")
_TEMPLATES = ("gcloud", "compute", "instance-templates")
_VMS = ("gcloud", "compute", "instances")
_PATTERN = frozenset("*?[]")  # To gcloud, in a path; it has no way to write them otherwise.
_OVERTIME = 600  # Seconds after --max_hours in which the VM should have ended itself.


def describe(config: LaunchConfig, trainer: TrainerFlags, folder: Path) -> Job:
    """Returns the job: the project's source into the run's bucket, then the VM.

    Raises:
        FlagsError: if data or run are in no bucket, or where gcloud or the VM would not find them,
            or no machine takes the GPUs.
        RuntimeError: if the project's commit cannot be told.
    """
    data = _bucket("data_dir", trainer.config.data_dir)
    run = _bucket("workdir", trainer.config.workdir)
    trainer.check_weights()
    _check_beside(run, trainer)
    _check_folder(folder)
    commit = source.commit()
    archive = f"{folder}/source-{commit[:12]}.tar.gz"
    uploaded = f"{_beside(run)}/source-{commit[:12]}.tar.gz"
    values = {
        "name": config.name,
        "zone": config.zone,
        "group": config.name if config.spot else "",
        "when_done": config.when_done,
        "max_seconds": config.max_seconds or "",
        "commit": commit,
        "source": uploaded,
        "extras": trainer.extras(config.gpus),
        "gpus": config.gpus,
        "data": data,
        "run": run,
        "flags": trainer.elsewhere(),
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
            *(_create_group(config, folder) if config.spot else _create_vm(config, folder)),
        ),
        client="gcloud",
        install="Install the Google Cloud CLI (https://cloud.google.com/sdk/docs/install).",
        submitted=_submitted(config, run),
        clean_up=_clean_up(config, run),
        warning=source.uncommitted(),
    )


def _bucket(name: str, path: str) -> str:
    """Returns the URL of what is in one of Google's buckets: the VM has rights in no other."""
    if not urls.is_remote(path):
        raise FlagsError(
            f"A VM of Google's cloud sees no folder of this machine: --{name} must be in a "
            f"bucket, such as gs://BUCKET/{path.lstrip('~/')}. Received: {path}."
        )
    if urls.scheme_of(path) != "gs":
        below = urls.without_scheme(path).partition("/")[2]
        raise FlagsError(
            f"A VM of Google's cloud has rights in Google's buckets alone: with --backend=gcp, "
            f"--{name} must begin with gs://. Received: {path}. Copy it to a bucket such as "
            f"gs://BUCKET/{below}, or take another backend."
        )
    return trainer_flags.here(name, path).rstrip("/")


def _beside(run: str) -> str:
    """Where the source and the log go: a folder of the run's bucket that is the job's own."""
    return f"{run}.launch"


def _check_beside(run: str, trainer: TrainerFlags) -> None:
    """Refuses a run beside which that folder would be another bucket, many, or somebody's data."""
    if not urls.without_scheme(run).partition("/")[2]:
        raise FlagsError(
            "With --backend=gcp the source and the log go beside the run: --workdir must be a "
            f"folder of its bucket, such as {run}/first. Received: {run}."
        )
    if not _PATTERN.isdisjoint(run):
        raise FlagsError(
            "gcloud takes *, ?, [ and ] for a pattern, of several runs: with --backend=gcp "
            f"--workdir must have none of them. Received: {run}. Name another folder."
        )
    for name, path in trainer.paths().items():
        if urls.is_remote(path) and urls.lies_in(_bucket(name, path), _beside(run)):
            raise FlagsError(
                f"{_beside(run)} is for the source and the log, and removed with them: --{name} "
                f"must lie elsewhere. Received: {path}. Name another --workdir."
            )


def _check_folder(folder: Path) -> None:
    """Refuses a folder whose name gcloud would read as something else."""
    if not (_PATTERN | {","}).isdisjoint(str(folder)):
        raise FlagsError(
            "gcloud takes *, ?, [ and ] in a path for a pattern, and a comma for its end: the "
            f"folder of the job's files must have none of them. Received: {folder}. Name another "
            "one with --write_to."
        )


def _submitted(config: LaunchConfig, run: str) -> Submitted:
    name, place = str(config.name), _place(config)
    if config.spot:
        status: Commands = ((*_GROUPS, "list-instances", name, *place),)
        stop: Commands = (
            (*_GROUPS, "delete", name, *place, "--quiet"),  # And its VM.
            (*_TEMPLATES, "delete", name, *_project(config), "--quiet"),
        )
    else:
        status = ((*_VMS, "list", f"--filter=name={name}", *_project(config)),)
        stop = ((*_VMS, config.when_done, name, *place, "--quiet"),)
    return Submitted(
        name=name,
        backend=config.backend,
        writes=run,
        # It outlives the VM.
        logs=(("gcloud", "storage", "cat", f"{_beside(run)}/startup.log"),),
        status=status,
        stop=stop,
    )


def _clean_up(config: LaunchConfig, run: str) -> str:
    """The source and the log, or the VM that was to stay."""
    if config.when_done == "delete":
        return shlex.join(["gcloud", "storage", "rm", "--recursive", _beside(run)])
    vm = f"{config.name}-XXXX" if config.spot else str(config.name)
    note = "  # the log says its whole name" if config.spot else ""
    return shlex.join([*_VMS, "delete", vm, *_place(config)]) + note


def _project(config: LaunchConfig) -> tuple[str, ...]:
    return (f"--project={config.project}",) if config.project else ()


def _place(config: LaunchConfig) -> tuple[str, ...]:
    return (f"--zone={config.zone}", *_project(config))


def _create_vm(config: LaunchConfig, folder: Path) -> Commands:
    options = {
        # A VM with a GPU cannot be moved to another host while it runs.
        "maintenance-policy": "TERMINATE" if config.gpus else None,
        "provisioning-model": "STANDARD",
        "instance-termination-action": config.when_done.upper() if config.max_hours else None,
        **_machine(config, folder),
    }
    return ((*_VMS, "create", str(config.name), *_place(config), *_flags(options)),)


def _create_group(config: LaunchConfig, folder: Path) -> Commands:
    """A template of the VM, and a group of one.

    The group does not repair at first. The VM turns that on, once it runs: so one whose service
    account may not change the group, and could not end it either, is not started for ever.
    """
    name = str(config.name)
    options = {
        "maintenance-policy": "TERMINATE",
        "provisioning-model": "SPOT",
        "instance-termination-action": "DELETE",  # The group has another one.
        **_machine(config, folder),
    }
    group = {
        "template": name,
        "base-instance-name": name,
        "size": 1,
        "default-action-on-vm-failure": "do-nothing",
    }
    return (
        (*_TEMPLATES, "create", name, *_project(config), *_flags(options)),
        (*_GROUPS, "create", name, *_place(config), *_flags(group)),
    )


def _flags(options: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items() if value is not None]


def _machine(config: LaunchConfig, folder: Path) -> dict[str, object]:
    """What a VM and a template are made with alike."""
    image = GPU_IMAGE if config.gpus else CPU_IMAGE
    limit = min((config.max_seconds or 0) + _OVERTIME, LONGEST)
    return {
        "machine-type": config.machine_type or _machine_type(config),
        "accelerator": _accelerator(config),
        # startup.sh ends what has run for its time; Google, what hangs.
        "max-run-duration": f"{limit}s" if config.max_hours else None,
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
