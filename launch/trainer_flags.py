"""The flags of `trainer.main`, checked before anything is paid for and without TensorFlow.

Every field of `TrainConfig` is a flag of the trainer, so the record is all that is needed here.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from cli import command, paths
from cli.command import FlagsError
from trainer.config import TrainConfig

_DEFINE: Mapping[type, Callable[..., Any]] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}
# Of the flags that are paths: those that the trainer reads.
_SCHEMES: Mapping[str, tuple[str, ...]] = {
    "data_dir": paths.BUCKETS,
    "workdir": paths.BUCKETS,
    "weights": paths.BUCKETS,
    "cache_dir": (),
}
_NO_PATHS = ("imagenet", "none")  # Of --weights.


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainerFlags:
    """Flags that the trainer will take.

    Attributes:
        config: What they come to.
        others: All but --data_dir and --workdir, whose places differ from machine to machine; each
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
        if weights not in _NO_PATHS and not paths.scheme_of(weights):
            raise FlagsError(
                "The machines see no file of this one: --weights is imagenet, none, or in a "
                f"bucket. Received: --weights={weights}."
            )

    def on_shared_folders(self) -> list[str]:
        """Returns all flags for machines that see this one's folders, under the same paths.

        Raises:
            FlagsError: if a path has a scheme that the trainer does not read.
        """
        absolute = {name: _absolute(here(name, path)) for name, path in self._paths().items()}
        others = [flag for flag in self.others if flag[2:].partition("=")[0] not in absolute]
        return [*(f"--{name}={path}" for name, path in absolute.items()), *others]

    def elsewhere(self) -> tuple[str, ...]:
        """Returns all but --data_dir and --workdir for machines that see no folder of this one.

        Raises:
            FlagsError: if one is a path that means something on this machine alone.
        """
        for name in ("weights", "cache_dir"):
            path = self._paths().get(name)
            if path is not None:
                check_elsewhere(name, path)
        return self.others

    def _paths(self) -> dict[str, str]:
        """Those of the flags that are paths."""
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
    return path if paths.scheme_of(path) else str(Path(path).absolute())


def check_elsewhere(name: str, path: str) -> None:
    """Refuses a path that would be another one on another machine.

    A relative path is always one below the folder that the launch is started in.

    Raises:
        FlagsError: if it is relative or begins with `~`, or has a scheme that the trainer does not
            read.
    """
    if path.startswith("~") or not (paths.scheme_of(path) or path.startswith("/")):
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
    values = _define()
    try:
        _, *rest = values(["trainer.main", *command.read_flagfiles(values, arguments)])
    except flags.UnrecognizedFlagError as error:
        raise _unknown(error.flagname, values) from None
    except flags.Error as error:
        raise FlagsError(f"The trainer would refuse its flags: {error}") from None
    if rest:
        raise FlagsError(
            f"Behind -- stand the trainer's flags alone, as --name=value. Received: {rest[0]!r}."
        )
    options: dict[str, Any] = {
        field.name: values[field.name].value for field in dataclasses.fields(TrainConfig)
    }
    for name in ("data_dir", "workdir"):
        if not options[name]:
            received = " ".join(arguments) or "nothing"
            raise FlagsError(f"The trainer needs --{name}. Received behind --: {received}.")
    try:
        config = TrainConfig(**options)
    except ValueError as error:
        raise FlagsError(f"The trainer would refuse its flags: {error}") from error
    others = [
        values[name].serialize()
        for name in (*options, "verbosity")
        if values[name].present and name not in ("data_dir", "workdir")
    ]
    for flag in others:
        if not flag.isprintable():
            raise FlagsError(f"A job file has no place for such a character. Received: {flag!r}.")
    return TrainerFlags(config=config, others=tuple(others))


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


def _unknown(name: str, values: flags.FlagValues) -> FlagsError:
    nearest = difflib.get_close_matches(name.removeprefix("no"), list(values), n=1, cutoff=0.4)
    hint = f" Did you mean --{nearest[0]}?" if nearest else ""
    return FlagsError(
        f"The trainer has no flag --{name}.{hint} `python -m trainer.main --help` lists all."
    )


def _define() -> flags.FlagValues:
    """Defines the flags apart from this command's own, which has some of the same names."""
    values = flags.FlagValues()
    hints = typing.get_type_hints(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        required = field.default is dataclasses.MISSING
        _DEFINE[_plain(hints[field.name])](
            field.name, None if required else field.default, "", flag_values=values
        )
    flags.DEFINE_integer("verbosity", 0, "absl's own.", flag_values=values)
    return values


def _plain(hint: Any) -> type:
    """`int` and `int | None` are both int."""
    [kind] = [k for k in (typing.get_args(hint) or [hint]) if k is not types.NoneType]
    return kind
