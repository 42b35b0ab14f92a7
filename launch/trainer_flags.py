"""The flags of `trainer.main`, checked before anything is paid for and without TensorFlow."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from buckets import urls
from buckets.clients import CLIENTS
from cli import paths
from cli.command import FlagsError
from cli.flags import options_of
from launch.command_flags import CommandFlags
from trainer.config import RECIPES, TrainConfig
from trainer.model.backbone import named

# Of the flags that are paths: those that the trainer reads.
_SCHEMES: Mapping[str, tuple[str, ...]] = {
    name: option.schemes
    for name, option in options_of(TrainConfig).items()
    if option.schemes is not None
}
_NO_PATHS = ("imagenet", "none")  # Of --weights.
_BY_BACKEND = ("data_dir", "workdir")  # Each backend has its own way to them.


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainerFlags:
    """Flags that the trainer will take.

    Attributes:
        config: The record that they fill.
        others: All but --data_dir and --workdir, whose paths differ from machine to machine; each
            as `--name=value`, those of a --flagfile among them.
    """

    config: TrainConfig
    others: tuple[str, ...]

    def check_weights(self) -> None:
        """Refuses weights that lie where the machines cannot read them.

        Raises:
            FlagsError: if they are a file of this machine.
        """
        weights = self.config.weights
        if weights not in _NO_PATHS and not urls.is_remote(weights):
            raise FlagsError(
                "The machines see no file of this one: --weights is imagenet, none, or in a "
                f"bucket. Received: --weights={weights}."
            )
        start = self.config.init_from
        if start and not urls.is_remote(start):
            raise FlagsError(
                "The machines see no file of this one: --init_from is in a bucket. Received: "
                f"--init_from={start}."
            )

    def on_shared_folders(self) -> list[str]:
        """Returns all flags for machines that see this one's folders, under the same paths.

        Raises:
            FlagsError: if a path has a scheme that the trainer does not read.
        """
        absolute = {name: _absolute(here(name, path)) for name, path in self.paths().items()}
        others = [flag for flag in self.others if flag[2:].partition("=")[0] not in absolute]
        return [*(f"--{name}={path}" for name, path in absolute.items()), *others]

    def elsewhere(self) -> tuple[str, ...]:
        """Returns all but --data_dir and --workdir for machines that see no folder of this one.

        Raises:
            FlagsError: if one is a path that means something on this machine alone.
        """
        for name, path in self.paths().items():
            if name not in _BY_BACKEND:
                check_elsewhere(name, path)
        return self.others

    def extras(self, gpus: int) -> str:
        """Returns the extras that a machine installs, such as `[gpu,gcs]`; empty for none.

        Args:
            gpus: Of the machine.
        """
        schemes = sorted({urls.scheme_of(path) or "" for path in self.paths().values()} - {""})
        names = [*(["gpu"] if gpus else []), *(CLIENTS[scheme].extra for scheme in schemes)]
        return f"[{','.join(names)}]" if names else ""

    def paths(self) -> dict[str, str]:
        """Returns what the flags hold of paths, {name: path}."""
        values = {name: getattr(self.config, name) for name in _SCHEMES}
        return {name: path for name, path in values.items() if path not in (None, *_NO_PATHS)}


def here(name: str, path: str) -> str:
    """Returns the path with `~` expanded, as the trainer would on this machine.

    Raises:
        FlagsError: if its scheme is none that the trainer reads.
    """
    try:
        return paths.expand(path, _SCHEMES[name])
    except ValueError as error:
        raise FlagsError(f"The trainer would refuse --{name}, which {error}") from None


def _absolute(path: str) -> str:
    """The nodes see the same folders, but need not start in this one."""
    return path if urls.is_remote(path) else str(Path(path).absolute())


def check_elsewhere(name: str, path: str) -> None:
    """Refuses a path that would be another one on another machine.

    A relative path is always one below the folder that the launch is started in.

    Raises:
        FlagsError: if it is relative or begins with `~`, or has a scheme that the trainer does not
            read.
    """
    if path.startswith("~") or not (urls.is_remote(path) or path.startswith("/")):
        raise FlagsError(
            "The machines see no folder of this one. Give --"
            f"{name} as they see it, from / on, or in a bucket. Received: --{name}={path}."
        )
    here(name, path)


def parse(arguments: Sequence[str]) -> TrainerFlags:
    """Checks the trainer's flags.

    Raises:
        FlagsError: if one is unknown or wrong, with the nearest name.
    """
    read = CommandFlags("The trainer", "trainer.main", TrainConfig, arguments, RECIPES)
    try:
        config = TrainConfig(**read.options())
        named(config.backbone).check_count(config.freeze_layers)
    except ValueError as error:
        raise read.refusal(error) from error
    for name in _SCHEMES:
        _check_scheme(name, getattr(config, name))
    return TrainerFlags(config=config, others=tuple(read.given(without=_BY_BACKEND)))


def _check_scheme(name: str, path: str | None) -> None:
    """Refuses a scheme that the trainer, or another machine, does not read, or half of one."""
    scheme = urls.scheme_of(path or "")
    if scheme == "memory":
        raise FlagsError(
            f"What is in memory no other machine sees. Received: --{name}={path}. Name a bucket."
        )
    if scheme or urls.mended(path or ""):
        here(name, str(path))


def check_replicas(config: TrainConfig, *, num_nodes: int, gpus: int) -> None:
    """Refuses what would show only on the machines: too few GPUs, a batch that does not divide.

    Raises:
        FlagsError: if the nodes cannot run the trainer with these flags.
    """
    if config.num_gpus is not None and config.num_gpus > gpus:
        raise FlagsError(
            "The trainer cannot use more GPUs than a node has. "
            f"Received: --num_gpus={config.num_gpus} behind --, --gpus={gpus} before it."
        )
    if gpus == 0 or config.num_gpus == 0:
        replicas = config.cpu_replicas
    else:
        replicas = gpus if config.num_gpus is None else config.num_gpus
    try:
        config.check_replicas(num_nodes * replicas)
    except ValueError as error:
        raise FlagsError(str(error)) from error
