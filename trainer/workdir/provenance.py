"""Where a run's numbers come from: flags, versions, commit and devices, for config.json."""

import dataclasses
import datetime
import importlib.metadata
import platform
import shlex
import subprocess
from pathlib import Path
from typing import Any

import tensorflow as tf

from trainer.config import TrainConfig
from trainer.workdir import mirror

_PACKAGES = ("coco-animals", "tensorflow", "keras", "numpy", "scikit-learn", "scipy")
_ROOT = Path(__file__).parents[2]


def describe(config: TrainConfig, strategy: tf.distribute.Strategy, step: int) -> dict[str, Any]:
    """Returns what to remember of a start of a run, at this step, on this machine."""
    now = datetime.datetime.now(datetime.UTC)
    return {
        "time": now.isoformat(timespec="seconds"),
        "step": step,
        "flags": _flags(config),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
        },
        "git_commit": git_commit(),
        "devices": {
            "replicas": list(strategy.extended.worker_devices),
            "gpus": [
                tf.config.experimental.get_device_details(gpu).get("device_name", "unknown")
                for gpu in tf.config.get_visible_devices("GPU")
            ],
            "platform": platform.platform(),
        },
    }


def command_line(config: TrainConfig) -> str:
    """Returns what to type for this run: the flags that are not at their defaults.

    Those of a recipe are among them, so that its name is not.
    """
    flags = []
    values = _flags(config)
    for field in dataclasses.fields(config):
        value = values[field.name]
        if field.name == "recipe":
            continue
        if value is True:
            flags.append(f"--{field.name}")
        elif value != field.default:
            flags.append(f"--{field.name}={value}")
    return shlex.join(["python", "-m", "trainer.main", *flags])


def _flags(config: TrainConfig) -> dict[str, Any]:
    """Returns the flags; of a fold in a bucket, those that its copy needs on no other machine."""
    flags = dataclasses.asdict(config)
    if mirror.is_handed_down(config.workdir):
        flags["workdir"] = mirror.shown(Path(config.workdir))
        if mirror.is_handed_down(config.cache_dir or ""):
            flags["cache_dir"] = None
    return flags


def git_commit(root: Path = _ROOT) -> str | None:
    """The commit that the code is of, with `-dirty` behind it where files were changed since.

    None outside a checkout of the project, such as an install into another project's folder.
    """
    if not (root / ".git").exists():  # A folder, or the file that a worktree has.
        return None
    describe = ("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40")
    try:
        done = subprocess.run(
            [*describe, "--exclude=*"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):  # No git here, or not this user's checkout.
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # The project, run from its folder.
        return None
