"""A SkyPilot task: machines of any cloud, found, set up and, when they are lost, replaced."""

from pathlib import Path

from buckets import urls
from cli.command import PREEMPTED, FlagsError
from launch import source, trainer_flags
from launch.config import LaunchConfig
from launch.job import Job, render
from launch.submitted import Submitted
from launch.trainer_flags import TrainerFlags

_DATA = "/animals/data"  # On the machines, where a folder of this one is uploaded.


def describe(config: LaunchConfig, trainer: TrainerFlags, folder: Path) -> Job:
    """Returns the job: a task file, and the command that makes it a managed job.

    Raises:
        FlagsError: if the run is in no bucket, or the data are nowhere.
    """
    workdir = trainer.config.workdir.rstrip("/")
    if not urls.is_remote(workdir):
        raise FlagsError(
            "A machine that is taken away leaves its run in a bucket: --workdir must be one, such "
            f"as gs://BUCKET/{workdir.lstrip('~/')}. Received: {workdir}."
        )
    trainer.check_weights()
    uploaded = _uploaded(trainer.config.data_dir)
    data_dir = _DATA if uploaded else trainer.config.data_dir.rstrip("/")
    values = {
        "name": config.name,
        "repository": str(source.ROOT),
        "num_nodes": config.num_nodes,
        "infra": config.infra,
        "accelerators": f"{config.accelerator}:{config.gpus}" if config.gpus else None,
        "spot": config.spot,
        "disk_gb": config.disk_gb,
        "preempted": PREEMPTED,
        "data_dir": _DATA,
        "uploaded": uploaded,
        "extras": trainer.extras(config.gpus),
        "max_seconds": config.max_seconds,
        "flags": [
            f"--num_gpus={config.gpus}",
            f"--data_dir={data_dir}",
            f"--workdir={workdir}",
            *trainer.elsewhere(),
        ],
    }
    return Job(
        folder=folder,
        files={"task.yaml": render("sky_task.yaml", values)},
        commands=(
            ("sky", "jobs", "launch", "--yes", "--detach-run", f"--name={config.name}",
             f"{folder}/task.yaml"),
        ),
        client="sky",
        install='Install SkyPilot: pip install "skypilot[gcp]".',
        submitted=Submitted(
            name=str(config.name),
            backend=config.backend,
            writes=workdir,
            logs=(("sky", "jobs", "logs", f"--name={config.name}"),),
            status=(("sky", "jobs", "queue"),),  # Of all jobs: it takes no name.
            stop=(("sky", "jobs", "cancel", "--yes", f"--name={config.name}"),),
        ),
        # The job's machines go with it. What stays is the one that looks after jobs.
        clean_up="sky down sky-jobs-controller-HASH  # `sky status` shows its whole name",
    )  # fmt: skip


def _uploaded(data_dir: str) -> str | None:
    """A folder of this machine with its whole path, for SkyPilot to upload; None of a bucket."""
    if urls.is_remote(data_dir):
        return None
    folder = Path(trainer_flags.here("data_dir", data_dir)).absolute()
    if not folder.is_dir():
        raise FlagsError(
            "--data_dir must be in a bucket, such as gs://BUCKET/data, or a folder of this "
            f"machine, which SkyPilot uploads. Received: {data_dir}, which is not here."
        )
    return str(folder)
