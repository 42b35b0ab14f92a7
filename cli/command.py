"""Runs a command: flags in, one clear line on stderr and an exit code out.

Exit codes: 0 done; 1 failed; 2 bad flags; 42 interrupted with the finished work kept, so that the
same command goes on where it stopped.
"""

import dataclasses
import errno
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from absl import app, flags, logging

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")

FAILED = 1
BAD_FLAGS = 2
PREEMPTED = 42


class PreemptedError(BaseException):
    """The run was asked to stop; a checkpoint is written, the same command goes on from it.

    Like KeyboardInterrupt it may be raised anywhere, and is no Exception that a library handles.
    """


class FlagsError(ValueError):
    """A flag's value that only shows to be wrong once the flags are seen together."""


def run(main: Callable[[list[str]], None], hint: str = "Pass --help to see the flags.") -> None:
    """Parses the flags, calls `main` with the positional arguments and exits with its code.

    Args:
        main: The command.
        hint: What to say of a flag that it does not know.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ends like Ctrl-C.
    app.run(
        lambda argv: _exit(_exit_code(main, argv[1:])),
        flags_parser=lambda argv: _parse_flags(argv, hint),
    )


def refuse_arguments(arguments: Sequence[str]) -> None:
    """For a command that takes flags alone."""
    if arguments:
        raise FlagsError(f"Only flags are taken. Received: {' '.join(arguments)}.")


def config_from_flags(config_class: type[Config]) -> Config:
    """Returns a config dataclass whose fields are read from the flags of the same names."""
    values = {
        field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(config_class)
    }
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    try:
        return config_class(**values | lists)
    except ValueError as error:
        raise FlagsError(str(error)) from error


def _parse_flags(argv: Sequence[str], hint: str) -> list[str]:
    """Like absl's own parser, but a wrong flag exits with 2 and `--help` with 0."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _complain(f"{error}. {hint}")
        sys.exit(BAD_FLAGS)
    except SystemExit:  # absl prints the help and then exits with 1.
        sys.exit(0)


def _exit(code: int) -> None:
    """Exits; a signal that comes from now on is too late.

    As Python ends, it takes its handlers away, and the system's would put another code in place of
    this one.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _exit_code(main: Callable[[list[str]], None], arguments: list[str]) -> int:
    try:
        main(arguments)
    except FlagsError as error:
        return _fail(error, BAD_FLAGS)
    except PreemptedError as error:
        return _fail(error, PREEMPTED)
    except KeyboardInterrupt:
        _complain("Interrupted. Finished work is kept: start the same command again to go on.")
        return PREEMPTED
    except Exception as error:  # The one place that turns a failure into a line for a person.
        return _fail(error, FAILED)
    return 0


def _fail(error: BaseException, code: int) -> int:
    if logging.get_verbosity() >= logging.DEBUG:
        traceback.print_exception(error)
    _complain(_one_line(error))
    return code


def _one_line(error: BaseException) -> str:
    """The message, on one line; errors that nobody phrased for a person also say their type."""
    message = " ".join(str(error).split())
    phrased = isinstance(error, ValueError | OSError | RuntimeError | PreemptedError)
    phrased = phrased and type(error).__module__.partition(".")[0] not in ("tensorflow", "keras")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{message}. Make room and start the same command again: finished work is kept."
    if phrased and message:
        return message
    hint = "Run it again with --verbosity=1 for the traceback."
    return f"{type(error).__name__}: {message[:500]} {hint}"


def _complain(message: Any) -> None:
    print(f"Error: {message}", file=sys.stderr, flush=True)
