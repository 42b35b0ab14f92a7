"""A job of a Slurm cluster whose nodes share a file system: trainers, or an array of builders."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli.command import PREEMPTED
from launch import build_flags
from launch.config import LaunchConfig
from launch.job import SCRIPT, Job, render
from launch.submitted import RECORD, Submitted
from launch.trainer_flags import TrainerFlags

_NOTICE_SECONDS = 120  # Before the time limit: a step, a checkpoint, and twice the grace.


def describe(config: LaunchConfig, trainer: TrainerFlags, folder: Path) -> Job:
    """Returns the job: a batch script that starts one worker on each node."""
    flags = trainer.on_shared_folders()
    values = {
        **_values(config, folder),
        "num_nodes": config.num_nodes,
        "gpus": config.gpus,
        "notice_seconds": _NOTICE_SECONDS,
        "flags": [f"--num_gpus={config.gpus}", *flags],
    }
    return Job(
        folder=folder,
        files={
            "train.sbatch": render("slurm_train.sbatch", values),
            "worker.sh": render("slurm_worker.sh", values),
        },
        commands=(("sbatch", f"{folder}/train.sbatch"),),
        **_common_fields(config, folder, _path_in(flags, "workdir")),
    )


def describe_build(config: LaunchConfig, arguments: Sequence[str], folder: Path) -> Job:
    """Returns the job: an array whose tasks build the shards, and a job that completes the dataset.

    Args:
        arguments: The flags of data_prep.build.
        folder: Where the files go.

    Raises:
        FlagsError: if the build would refuse them, or if they share the shards out themselves.
    """
    num_tasks = config.build_tasks or 1
    flags = build_flags.parse(arguments, num_tasks)
    values = {
        **_values(config, folder),
        "flags": [f"--num_tasks={num_tasks}", f"--num_workers={config.cpus_per_node}", *flags],
    }
    script = f"{folder}/build.sbatch"
    return Job(
        folder=folder,
        files={"build.sbatch": render("slurm_build.sbatch", values)},
        commands=(
            ("sbatch", f"--array=0-{num_tasks - 1}", script),
            # Once all jobs of this name have ended, well or not: it says what is missing.
            ("sbatch", "--dependency=singleton", script),
        ),
        **_common_fields(config, folder, _path_in(flags, "data_dir")),
    )


def _path_in(flags: Sequence[str], name: str) -> str:
    """The path that the nodes are given, in the one spelling that it has."""
    option = f"--{name}="
    path = next(flag.removeprefix(option) for flag in flags if flag.startswith(option))
    return path.rstrip("/")


def _common_fields(config: LaunchConfig, folder: Path, writes: str) -> dict[str, Any]:
    """The fields that both jobs have in common."""
    mine = ("--me", f"--name={config.name}")
    return {
        "client": "sbatch",
        "install": "Start this on a node of the cluster that submits jobs.",
        "submitted": Submitted(
            name=str(config.name),
            backend=config.backend,
            writes=writes,
            logs=(("tail", "-n", "1000", "-F", f"{folder}/{config.name}-*.log"),),
            status=(("squeue", *mine, "--states=all"),),
            stop=(("scancel", *mine),),
        ),
        "clean_up": _clean_up(config, folder),
    }


def _clean_up(config: LaunchConfig, folder: Path) -> str:
    """The job's own files alone: with --write_to the folder may have a user's too, or the run."""
    scripts = ["build.sbatch"] if config.build_tasks else ["train.sbatch", "worker.sh"]
    names = " ".join([*scripts, SCRIPT, RECORD, f"{config.name}-*.log", "preempted-[0-9]*"])
    return f"cd {shlex.quote(str(folder))} && rm -f {names}"


def _values(config: LaunchConfig, folder: Path) -> dict[str, object]:
    return {
        "name": config.name,
        "folder": str(folder),
        "here": str(Path.cwd()),
        "partition": config.partition,
        "time_limit": config.time_limit,
        "cpus": config.cpus_per_node,
        "python": str(Path(config.python).absolute()) if "/" in config.python else config.python,
        "preempted": PREEMPTED,
    }
