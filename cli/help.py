"""What `--help`, `-h`, `--helpfull` and `--version` print: the command's own flags, first of all.

absl shows the flags of the file that was started, which for a console script are none.
"""

import sys
from collections.abc import Callable, Iterable
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
  --flagfile: A file of flags, one a line.
  --verbosity: 1 shows the traceback of an error, -1 only warnings."""


def define(module: str, arguments: str) -> None:
    """Defines these flags for the command of a module.

    Args:
        module: Its `__name__`.
        arguments: What it takes beside flags, for its usage line.
    """
    app.define_help_flags()  # Else it would do so after us, and find ours.
    for name in _REPLACED:
        delattr(flags.FLAGS, name)

    def own() -> str:
        return _own_help(module, arguments)

    flags.DEFINE_flag(_Printing("help", own, short_name="h"))
    flags.DEFINE_flag(_Printing("helpshort", own))
    flags.DEFINE_flag(_Printing("helpfull", lambda: f"{own()}\n{_help_of_others(module)}"))
    flags.DEFINE_flag(_Printing("version", lambda: VERSION))


def program() -> str:
    """Returns the command as it was typed: `python -m trainer.main`, `animals train`, ..."""
    started = Path(sys.argv[0])
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name}" if spec and started.is_absolute() else started.name


def required(module: str) -> list[str]:
    """Returns the names of the flags without which the command of a module does not start."""
    return [flag.name for flag in own_flags(module) if _is_required(flag)]


def own_flags(module: str) -> list[flags.Flag]:
    """Returns the flags of a command in the order in which its module defines them."""
    return list(flags.FLAGS.get_key_flags_for_module(_registered(module)))


def usage(module: str, arguments: str = "") -> str:
    """Returns how the command is started."""
    needed = [f"--{name}={name.upper()}" for name in required(module)]
    return " ".join([program(), *needed, "[FLAGS]", *filter(None, [arguments])])


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


def _own_help(module: str, arguments: str) -> str:
    needed = set(required(module))
    own = own_flags(module)
    groups = {
        "Required": [flag for flag in own if flag.name in needed],
        "Optional": [flag for flag in own if flag.name not in needed],
    }
    described = [f"\n{name}:\n{_describe_all(group)}" for name, group in groups.items() if group]
    about = (sys.modules[module].__doc__ or "").strip()
    return "\n".join([about, "", f"Usage: {usage(module, arguments)}", *described, _COMMON])


def _help_of_others(module: str) -> str:
    others = {
        name: [flag for flag in group if flag.name not in _REPLACED]
        for name, group in flags.FLAGS.flags_by_module_dict().items()
        if name not in (_registered(module), __name__)
    }
    return "\n".join(
        f"\n{name}:\n{_describe_all(group)}" for name, group in others.items() if group
    )


def _describe_all(group: Iterable[flags.Flag]) -> str:
    return "\n".join(map(_describe, group))


def _describe(flag: flags.Flag) -> str:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    notes = [flag.parser.syntactic_help] if flag.parser.syntactic_help else []
    default = (flag.default_as_str or "").strip("'")
    if default:
        notes.append(f"default: {default}")
    text = f"{name}: {flag.help}" + (f" ({'; '.join(notes)})" if notes else "")
    return flags.text_wrap(text, indent="      ", firstline_indent="  ")


def _registered(module: str) -> str:
    """The name by which absl knows the module that was started."""
    return sys.argv[0] if module == "__main__" else module


def _is_required(flag: flags.Flag) -> bool:
    return any(not validator.checker(None) for validator in flag.validators)
