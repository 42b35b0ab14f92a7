"""Makes a job of a launch: which backend describes it, and what it is called. No flags here."""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from launch import gcp, k8s, sky, slurm, trainer_flags
from launch.config import LaunchConfig
from launch.job import Job
from launch.trainer_flags import TrainerFlags

_DESCRIBE: Mapping[str, Callable[[LaunchConfig, TrainerFlags, Path], Job]] = {
    "gcp": gcp.describe,
    "sky": sky.describe,
    "slurm": slurm.describe,
    "k8s": k8s.describe,
}


def plan(config: LaunchConfig, arguments: Sequence[str]) -> Job:
    """Returns the job; nothing is written or started.

    Args:
        config: Where it runs.
        arguments: What stands behind `--`.

    Raises:
        FlagsError: if the trainer, or the backend, would refuse them.
    """
    if config.build_tasks:
        config = _named(config, "build")
        return slurm.describe_build(config, arguments, _folder(config))
    trainer = trainer_flags.parse(arguments)
    trainer_flags.check_replicas(trainer.config, num_nodes=config.num_nodes, gpus=config.gpus)
    config = _named(config, trainer.config.workdir)
    return _DESCRIBE[config.backend](config, trainer, _folder(config))


def _named(config: LaunchConfig, workdir: str) -> LaunchConfig:
    """The same run has the same name, which clouds and Kubernetes can bear.

    Where letters of the workdir's name are lost, its digest tells it from others.
    """
    last = Path(workdir).absolute().name
    parts = ["animals", *re.findall(r"[a-z0-9]+", last.lower())]
    if not last.isascii() or len(parts) == 1:
        digest = hashlib.sha256(last.encode(errors="surrogateescape")).hexdigest()[:8]
        parts = ["-".join(parts)[:31].rstrip("-"), digest]
    return dataclasses.replace(config, name=config.name or "-".join(parts)[:40].rstrip("-"))


def _folder(config: LaunchConfig) -> Path:
    return Path(config.write_to or f"jobs/{config.name}").absolute()
