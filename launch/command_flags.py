"""The flags of a command that a job will start, defined from the record that they fill.

Every field of its config is a flag of the command, so that its module is not imported here.
"""

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from cli import command, recipes
from cli.command import FlagsError
from cli.flags import define_unchecked, options_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class CommandFlags:
    """What stands behind `--`, read as the command will read it.

    Args:
        title: What messages call the command, such as `The trainer`.
        module: The module that the job starts, such as `trainer.main`.
        config_class: The record that its flags fill.
        arguments: What stands behind `--`.
        recipes_folder: Holds what its --recipe may name.

    Raises:
        FlagsError: if a flag is unknown or wrong, with the nearest name.
    """

    def __init__(
        self,
        title: str,
        module: str,
        config_class: "type[DataclassInstance]",
        arguments: Sequence[str],
        recipes_folder: Path | None = None,
    ) -> None:
        self._title, self._module, self._arguments = title, module, arguments
        self._recipes_folder = recipes_folder
        self._options = options_of(config_class)
        self._values = flags.FlagValues()  # This command's own have some of the same names.
        # What a path means, and what a value must be, the config says, as on the machine.
        define_unchecked(config_class, self._values)
        flags.DEFINE_integer("verbosity", 0, "absl's own.", flag_values=self._values)
        self._parse()

    def _parse(self) -> None:
        values = self._values
        try:
            arguments = command.read_flagfiles(values, self._arguments)
            if self._recipes_folder:
                arguments = recipes.expand(arguments, self._recipes_folder)
            _, *rest = values([self._module, *arguments])
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
        values = {name: self._values[name].value for name in self._options}
        for name, option in self._options.items():
            if option.is_required and not values[name]:
                received = " ".join(self._arguments) or "nothing"
                raise FlagsError(f"{self._title} needs --{name}. Received behind --: {received}.")
        return {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}

    def given(self, *, without: Collection[str] = ()) -> list[str]:
        """Returns the flags that are given, each as `--name=value`, those of a flagfile among them.

        Args:
            without: Names of flags to leave out.

        Raises:
            FlagsError: if one, left out or not, has a character that a job file cannot hold.
        """
        shown = {
            name: self._values[name].serialize()
            for name in (*self._options, "verbosity")
            if self._values[name].present
        }
        for flag in shown.values():
            if not flag.isprintable():
                raise FlagsError(
                    f"A job file has no place for such a character. Received: {flag!r}."
                )
        return [flag for name, flag in shown.items() if name not in without]

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
