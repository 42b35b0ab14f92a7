"""The flags of a command that a job will start, defined from the record that they fill.

Every field of its config is a flag of the command, so that its module is not imported here.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from cli import command
from cli.command import FlagsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_DEFINE: Mapping[type, Callable[..., Any]] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}


class CommandFlags:
    """What stands behind `--`, read as the command will read it.

    Args:
        title: Of the command, as `The trainer`.
        module: That is started, as `trainer.main`.
        config_class: The record that its flags fill.
        arguments: What stands behind `--`.

    Raises:
        FlagsError: if a flag is unknown or wrong, with the nearest name.
    """

    def __init__(
        self,
        title: str,
        module: str,
        config_class: "type[DataclassInstance]",
        arguments: Sequence[str],
    ) -> None:
        self._title, self._module, self._class = title, module, config_class
        self._arguments = arguments
        # Apart from this command's own, which has some of the same names.
        self._values = _define(config_class)
        self._parse()

    def _parse(self) -> None:
        values = self._values
        try:
            _, *rest = values([self._module, *command.read_flagfiles(values, self._arguments)])
        except flags.UnrecognizedFlagError as error:
            raise self._unknown(error.flagname) from None
        except flags.Error as error:
            raise self.refusal(error) from None
        if rest:
            raise FlagsError(
                f"Behind -- stand flags of {self._module} alone, as --name=value. Received: "
                f"{rest[0]!r}."
            )

    def options(self) -> dict[str, Any]:
        """Returns a value for each field of the record; lists as tuples.

        Raises:
            FlagsError: if one without a default is not given.
        """
        for field in dataclasses.fields(self._class):
            if field.default is dataclasses.MISSING and not self._values[field.name].value:
                received = " ".join(self._arguments) or "nothing"
                raise FlagsError(
                    f"{self._title} needs --{field.name}. Received behind --: {received}."
                )
        values = {f.name: self._values[f.name].value for f in dataclasses.fields(self._class)}
        return {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}

    def given(self, *, without: Collection[str] = ()) -> list[str]:
        """Returns the flags that are given, each as `--name=value`, those of a flagfile among them.

        Args:
            without: The names of those to leave out.

        Raises:
            FlagsError: if one has a character that a job file cannot hold.
        """
        names = [field.name for field in dataclasses.fields(self._class)]
        shown = [
            self._values[name].serialize()
            for name in (*names, "verbosity")
            if self._values[name].present and name not in without
        ]
        for flag in shown:
            if not flag.isprintable():
                raise FlagsError(
                    f"A job file has no place for such a character. Received: {flag!r}."
                )
        return shown

    def refusal(self, error: Exception) -> FlagsError:
        """What the command itself would say, before anything is paid for."""
        return FlagsError(f"{self._title} would refuse its flags: {error}")

    def _unknown(self, name: str) -> FlagsError:
        known = list(self._values)
        nearest = difflib.get_close_matches(name.removeprefix("no"), known, n=1, cutoff=0.4)
        hint = f" Did you mean --{nearest[0]}?" if nearest else ""
        return FlagsError(
            f"{self._title} has no flag --{name}.{hint} `python -m {self._module} --help` lists "
            "all."
        )


def _define(config_class: "type[DataclassInstance]") -> flags.FlagValues:
    values = flags.FlagValues()
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        default = None if field.default is dataclasses.MISSING else field.default
        default = list(default) if isinstance(default, tuple) else default
        _DEFINE[_plain(hints[field.name])](field.name, default, "", flag_values=values)
    flags.DEFINE_integer("verbosity", 0, "absl's own.", flag_values=values)
    return values


def _plain(hint: Any) -> type:
    """`int` and `int | None` are both int, `tuple[str, ...]` is tuple."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else [hint]
    [kind] = [k for k in kinds if k is not types.NoneType]
    return typing.get_origin(kind) or kind
