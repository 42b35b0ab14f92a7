"""A JobSet on Kubernetes: an indexed Job whose pods are the workers, restarted together."""

import os
from pathlib import Path, PurePosixPath

from cli.command import PREEMPTED, FlagsError
from launch.config import LaunchConfig
from launch.job import Job, render
from launch.trainer_flags import TrainerFlags

_IMAGE = "coco-animals"
_MOUNT = "/animals"  # Where flags with relative paths do not say.


def describe(config: LaunchConfig, trainer: TrainerFlags, folder: Path) -> Job:
    """Returns the job: the JobSet, and the command that applies it.

    Raises:
        FlagsError: if the volume cannot hold both the data and the run.
    """
    paths = {"data_dir": trainer.config.data_dir, "workdir": trainer.config.workdir}
    local = [path for path in paths.values() if "://" not in path]
    mount = _mount(config.mount, local)
    flags = trainer.on(
        **{name: path if "://" in path else f"{PurePosixPath(mount, path)}"
           for name, path in paths.items()}
    )  # fmt: skip
    values = {
        "name": config.name,
        "namespace": config.namespace,
        "num_nodes": config.num_nodes,
        "hosts": [_host(str(config.name), pod) for pod in range(config.num_nodes)],
        "image": config.image or _IMAGE,
        "gpus": config.gpus,
        "cpus": config.cpus_of_node,
        "claim": config.claim if local else None,
        "mount": mount,
        "preempted": PREEMPTED,
        "flags": [f"--num_gpus={config.gpus}", *flags],
    }
    return Job(
        folder=folder,
        files={"jobset.yaml": render("k8s_jobset.yaml", values)},
        commands=(("kubectl", "apply", "--filename", f"{folder}/jobset.yaml"),),
        client="kubectl",
        install="Install kubectl (https://kubernetes.io/docs/tasks/tools).",
    )


def _host(name: str, pod: int) -> str:
    """A pod's name in the network of its JobSet: jobset-replicatedjob-job-pod.subdomain."""
    return f"{name}-worker-0-{pod}.{name}"


def _mount(given: str | None, paths: list[str]) -> str:
    """Returns where the volume is mounted, so that all of the paths are on it."""
    absolute = [path for path in paths if path.startswith("/")]
    if given is not None:
        mount = given.rstrip("/")
    elif absolute:
        # Of a single path the last part is the run's own.
        mount = os.path.commonpath([*absolute, str(Path(absolute[0]).parent)])
    else:
        mount = _MOUNT
    outside = [path for path in absolute if not PurePosixPath(path).is_relative_to(mount or "/")]
    if outside or mount in ("", "/"):
        raise FlagsError(
            "--data_dir and --workdir must lie in one folder below /, where all pods see the "
            "volume, such as /animals/data and /animals/runs/first; or be in a bucket. Received: "
            f"{', '.join(paths)}, --mount={given or 'unset'}."
        )
    return mount
