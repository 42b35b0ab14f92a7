"""What `--help`, `-h`, `--helpfull` and `--version` print: the command's own flags, first of all.

absl shows the flags of the file that was started, which for a console script are none.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from absl import app, flags

from cli import __version__

VERSION = f"coco-animals {__version__}"

_REPLACED = ("help", "helpshort", "helpfull")
# Of the libraries' flags, those that anyone needs.
_COMMON = """
For every command:
  -h, --help: These lines; --helpfull: the flags of the libraries too.
  --version: The version of the project.
  --flagfile: A file of flags, one a line; it may be in a bucket.
  --verbosity: 1 shows the traceback of an error, -1 only warnings."""


class Help:
    """What there is to say of a command.

    Args:
        module: The `__name__` of its module, which defines its flags.
        arguments: What it takes beside flags, for its usage line.
    """

    def __init__(self, module: str, arguments: str) -> None:
        self._module, self._arguments = module, arguments
        # The name by which absl knows the module that was started.
        self._registered = sys.argv[0] if module == "__main__" else module

    def define(self) -> None:
        """Defines --help, --helpshort, --helpfull and --version."""
        app.define_help_flags()  # Else it would do so after us, and find ours.
        for name in _REPLACED:
            delattr(flags.FLAGS, name)
        flags.DEFINE_flag(_Printing("help", self._short, short_name="h"))
        flags.DEFINE_flag(_Printing("helpshort", self._short))
        flags.DEFINE_flag(_Printing("helpfull", self._full))
        flags.DEFINE_flag(_Printing("version", lambda: VERSION))

    @property
    def required(self) -> list[str]:
        """The names of the flags without which the command does not start."""
        return [flag.name for flag in self._own_flags() if _is_required(flag)]

    @property
    def usage(self) -> str:
        """How the command is started."""
        needed = [f"--{name}={name.upper()}" for name in self.required]
        return " ".join([program(), *needed, "[FLAGS]", self._arguments]).rstrip()

    def _own_flags(self) -> list[flags.Flag]:
        """The command's own flags, in the order in which its module defines them."""
        return list(flags.FLAGS.get_key_flags_for_module(self._registered))

    def _short(self) -> str:
        needed, own = set(self.required), self._own_flags()
        groups = {
            "Required": [flag for flag in own if flag.name in needed],
            "Optional": [flag for flag in own if flag.name not in needed],
        }
        about = (sys.modules[self._module].__doc__ or "").strip()
        return f"{about}\n\nUsage: {self.usage}\n{_describe_all(groups)}\n{_COMMON}"

    def _full(self) -> str:
        others = {
            name: [flag for flag in group if flag.name not in _REPLACED]
            for name, group in flags.FLAGS.flags_by_module_dict().items()
            if name not in (self._registered, __name__)
        }
        return f"{self._short()}\n{_describe_all(others)}"


def program() -> str:
    """Returns the command as it was typed: `python -m trainer.main`, `animals train`, ..."""
    started = Path(sys.argv[0])
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name}" if spec and started.is_absolute() else started.name


class _Printing(flags.BooleanFlag):
    """A flag that prints a text and ends the command."""

    def __init__(self, name: str, text: Callable[[], str], short_name: str | None = None) -> None:
        super().__init__(name, False, "", short_name=short_name, allow_hide_cpp=True)
        self._text = text

    def parse(self, argument: str | bool) -> None:
        super().parse(argument)
        if self.value:
            print(self._text())
            sys.exit(0)


def _describe_all(groups: Mapping[str, Sequence[flags.Flag]]) -> str:
    described = ((title, map(_describe, group)) for title, group in groups.items() if group)
    return "\n".join(f"\n{title}:\n" + "\n".join(lines) for title, lines in described)


def _describe(flag: flags.Flag) -> str:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    notes = [flag.parser.syntactic_help] if flag.parser.syntactic_help else []
    default = (flag.default_as_str or "").strip("'")
    if default:
        notes.append(f"default: {default}")
    text = f"{name}: {flag.help}" + (f" ({'; '.join(notes)})" if notes else "")
    return flags.text_wrap(text, indent="      ", firstline_indent="  ")


def _is_required(flag: flags.Flag) -> bool:
    return any(not validator.checker(None) for validator in flag.validators)
