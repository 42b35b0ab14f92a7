"""A JobSet on Kubernetes: an indexed Job whose pods are the workers, restarted together."""

import os
import shlex
from pathlib import Path, PurePosixPath

from cli.command import PREEMPTED, FlagsError
from launch import trainer_flags
from launch.config import LaunchConfig
from launch.job import Job, render
from launch.submitted import Submitted
from launch.trainer_flags import TrainerFlags

_MOUNT = "/animals"  # Where no path says: both are in buckets.


def describe(config: LaunchConfig, trainer: TrainerFlags, folder: Path) -> Job:
    """Returns the job: the JobSet, and the command that applies it.

    Raises:
        FlagsError: if the volume cannot hold both the data and the run.
    """
    paths = {"data_dir": trainer.config.data_dir, "workdir": trainer.config.workdir}
    for option, path in paths.items():
        trainer_flags.check_elsewhere(option, path)
    local = [path for path in paths.values() if path.startswith("/")]
    mount = _mount(config.mount, local)
    name = str(config.name)
    flags = [
        f"--num_gpus={config.gpus}",
        *(f"--{option}={path}" for option, path in paths.items()),
        *trainer.elsewhere(),
    ]
    values = {
        "name": name,
        "namespace": config.namespace,
        "num_nodes": config.num_nodes,
        "hosts": [_host(name, pod) for pod in range(config.num_nodes)],
        "image": config.image,
        "max_seconds": config.max_seconds,
        "gpus": config.gpus,
        "cpus": config.cpus_per_node,
        "claim": config.claim if local else None,
        "mount": mount,
        "service_account": config.service_account,
        "secret": config.secret,
        "preempted": PREEMPTED,
        "flags": [flag.replace("$", "$$") for flag in flags],  # Kubernetes fills $(NAME) in.
    }
    return Job(
        folder=folder,
        files={"jobset.yaml": render("k8s_jobset.yaml", values)},
        commands=(("kubectl", "apply", "--filename", f"{folder}/jobset.yaml"),),
        submitted=_submitted(config, paths["workdir"].rstrip("/")),
        clean_up=shlex.join(
            ("kubectl", "delete", "jobset", name, f"--namespace={config.namespace}")
        ),
        client="kubectl",
        install="Install kubectl (https://kubernetes.io/docs/tasks/tools).",
    )


def _submitted(config: LaunchConfig, run: str) -> Submitted:
    name, namespace = str(config.name), f"--namespace={config.namespace}"
    pods = f"--selector=jobset.sigs.k8s.io/jobset-name={name}"
    return Submitted(
        name=name,
        backend=config.backend,
        writes=run,
        logs=(
            ("kubectl", "logs", "--follow", "--prefix", f"--max-log-requests={config.num_nodes}",
             "--tail=1000", namespace, pods),
        ),
        status=(
            ("kubectl", "get", "jobset", name, namespace),
            ("kubectl", "get", "pods", "--output=wide", namespace, pods),
        ),
        # The pods are told, and write a checkpoint; the JobSet stays, and can go on.
        stop=(
            ("kubectl", "patch", "jobset", name, namespace, "--type=merge",
             """--patch={"spec": {"suspend": true}}"""),
        ),
    )  # fmt: skip


def _host(name: str, pod: int) -> str:
    """A pod's name in the network of its JobSet: jobset-replicatedjob-job-pod.subdomain."""
    return f"{name}-worker-0-{pod}.{name}"


def _mount(given: str | None, paths: list[str]) -> str:
    """Returns where the volume is mounted, so that all of the paths are on it."""
    if given is not None:
        mount = given.rstrip("/")
    elif paths:
        # Of a single path the last part is the run's own.
        mount = os.path.commonpath([*paths, str(Path(paths[0]).parent)])
    else:
        mount = _MOUNT
    outside = [path for path in paths if not PurePosixPath(path).is_relative_to(mount or "/")]
    if outside or mount in ("", "/"):
        raise FlagsError(
            "--data_dir and --workdir must lie in one folder below /, where all pods see the "
            "volume, such as /animals/data and /animals/runs/first; or be in a bucket. Received: "
            f"{', '.join(paths)}, --mount={given or 'unset'}."
        )
    return mount
