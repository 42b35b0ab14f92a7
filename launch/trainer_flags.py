"""The flags of `trainer.main`, checked before anything is paid for and without TensorFlow.

Every field of `TrainConfig` is a flag of the trainer, so the record is all that is needed here.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from cli.command import FlagsError
from trainer.config import TrainConfig

_DEFINE: Mapping[type, Callable[..., Any]] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


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
        if weights not in ("imagenet", "none") and "://" not in weights:
            raise FlagsError(
                "The machines see no file of this one: --weights is imagenet, none, or in a "
                f"bucket. Received: --weights={weights}."
            )

    def on(self, *, data_dir: str, workdir: str) -> list[str]:
        """Returns all flags for a machine that has its data and run there."""
        return [f"--data_dir={data_dir}", f"--workdir={workdir}", *self.others]


def parse(arguments: Sequence[str]) -> TrainerFlags:
    """Checks the trainer's flags.

    Raises:
        FlagsError: if one is unknown or wrong, with the nearest name.
    """
    values = _define()
    try:
        _, *rest = values(["trainer.main", *arguments])
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
