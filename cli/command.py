"""Runs a command: flags in, one clear line on stderr and an exit code out.

Exit codes: 0 done; 1 failed; 2 bad flags; 42 interrupted with the finished work kept, so that the
same command goes on where it stopped.
"""

import contextlib
import dataclasses
import errno
import gc
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from absl import app, flags, logging

from buckets import urls
from cli import environment, recipes, streams
from cli.flags import flag_name
from cli.help import Help

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")

FAILED = 1
BAD_FLAGS = 2
PREEMPTED = 42

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # Beside Ctrl-C, which is Python's own.
_BYTE_ORDER_MARK = "\ufeff"


class PreemptedError(BaseException):
    """The run was asked to stop; a checkpoint is written, the same command goes on from it.

    Like KeyboardInterrupt it may be raised anywhere, and is no Exception that a library handles.
    """


class FlagsError(ValueError):
    """A flag's value that only shows to be wrong once the flags are seen together."""


def run(
    main: Callable[[list[str]], None],
    hint: str = "Pass --help to see the flags.",
    arguments: str = "",
    recipes_folder: Path | None = None,
) -> None:
    """Parses the flags, calls `main` with the positional arguments and exits with its code.

    Args:
        main: The command.
        hint: What to say of a flag that it does not know.
        arguments: What it takes beside flags, for its usage line.
        recipes_folder: Holds what its --recipe may name.
    """
    environment.prepare()
    for number in _stop_signals():
        signal.signal(number, signal.default_int_handler)  # Ends like Ctrl-C.
    help = Help(main.__module__, arguments)
    help.define()
    app.run(
        lambda argv: exit_with(_exit_code(main, argv[1:])),
        flags_parser=lambda argv: _parse_flags(argv, help, hint, recipes_folder),
    )


def refuse_arguments(arguments: Sequence[str]) -> None:
    """Refuses positional arguments, for a command that takes flags alone."""
    if arguments:
        raise FlagsError(f"Only flags are taken. Received: {' '.join(arguments)}.")


def config_from_flags(config_class: type[Config], *, without: Collection[str] = ()) -> Config:
    """Returns a config dataclass whose fields are read from the flags of the same names.

    Args:
        config_class: The dataclass.
        without: Fields that have no flag here, and stay at their defaults.
    """
    values = {
        field.name: flags.FLAGS[flag_name(field.name)].value
        for field in dataclasses.fields(config_class)
        if field.name not in without
    }
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    try:
        return config_class(**values | lists)
    except ValueError as error:
        raise FlagsError(str(error)) from error


def given_flags(names: Iterable[str]) -> list[str]:
    """Returns those of the flags that were given, each as `--name=value`, a flagfile's too."""
    return [flags.FLAGS[name].serialize() for name in names if flags.FLAGS[name].present]


def read_flagfiles(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Puts what stands in flagfiles in their place; absl takes a byte order mark for a character.

    Args:
        values: The flags that there are.
        argv: Without the name of the program.

    Raises:
        flags.Error: if a file cannot be read.
        BucketError: if one is in a bucket that cannot be read.
        RuntimeError: if the client of its store is not installed.
    """
    try:
        with contextlib.ExitStack() as stack:
            read = values.read_flags_from_files(_fetched(argv, stack), force_gnu=False)
    except UnicodeDecodeError as error:
        raise flags.Error(f"A flagfile must be UTF-8 text. Received: {error}") from error
    lines = [word.removeprefix(_BYTE_ORDER_MARK) for word in read]
    marked = {line for line, word in zip(lines, read, strict=True) if line != word}
    return [line for line in lines if line not in marked or not line.startswith(("#", "//"))]


def _fetched(argv: Sequence[str], stack: contextlib.ExitStack) -> list[str]:
    """Names copies, which last as long as the stack, in the place of flagfiles in buckets."""
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    for at, word in enumerate(words[:end]):
        is_alone = at > 0 and words[at - 1] in ("--flagfile", "-flagfile")
        flag, _, path = ("", "", word) if is_alone else word.rpartition("flagfile=")
        if (is_alone or flag in ("--", "-")) and urls.scheme_of(path) in urls.SCHEMES:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            copy = Path(folder) / "bucket.flags"
            copy.write_bytes(_content(path))
            words[at] = word.replace(path, str(copy))
    return words


def _content(url: str) -> bytes:
    from buckets.store import Store  # Brings what repeats requests: for buckets alone.

    folder, name = urls.split(url)
    store = Store(folder)
    store.check()
    try:
        return store.read(name)
    except FileNotFoundError:
        raise flags.Error(f"There is no such flagfile. Received: {url}") from None


def exit_with(code: int) -> NoReturn:
    """Exits; a signal that comes from now on is too late.

    As Python ends, it takes its handlers away, and the system's would put another code in place of
    this one.
    """
    for number in (*_STOP_SIGNALS, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    lost = streams.failure(sys.stdout)
    if lost and not code:
        complain(
            f"What was printed is lost: {lost.strerror}. The work itself is done. Received: the "
            "file or device that standard output goes to. Give another."
        )
        code = FAILED
    streams.failure(sys.stderr)
    gc.freeze()  # Else Python looks for garbage among all that was imported: a second.
    sys.exit(code)


def _stop_signals() -> list[signal.Signals]:
    """Those that stop a command, without a hang-up that nohup has it ignore."""
    return [number for number in _STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


def _parse_flags(
    argv: Sequence[str], help: Help, hint: str, recipes_folder: Path | None
) -> list[str]:
    """Like absl's own parser, but a wrong flag exits with 2 and `--help` with 0."""
    try:
        arguments = read_flagfiles(flags.FLAGS, argv[1:])
        if recipes_folder:
            arguments = recipes.expand(arguments, recipes_folder)
        return flags.FLAGS([argv[0], *arguments])
    except flags.Error as error:
        complain(_complaint(error, help, argv[1:], hint))
        exit_with(BAD_FLAGS)
    except RuntimeError as error:  # The bucket of a flagfile.
        exit_with(_fail(error, FAILED))
    except SystemExit:  # The help was printed; absl's own then exits with 1.
        exit_with(0)


def _complaint(error: flags.Error, help: Help, arguments: Sequence[str], hint: str) -> str:
    """Returns what is wrong with the flags; all that are missing at once, where nothing else is."""
    missing = [name for name in help.required if flags.FLAGS[name].value is None]
    if flags.FLAGS.is_parsed() and missing:  # It is, once each flag that was given is right.
        return (
            f"{' and '.join(f'--{name}' for name in missing)} must be given. Received: "
            f"{' '.join(arguments) or 'no flags'}. Start it as `{help.usage}`. {hint}"
        )
    wrong = " ".join(str(error).split()).removeprefix("ERROR:: ").removesuffix(".")
    return f"{wrong}. {hint}"


def _exit_code(main: Callable[[list[str]], None], arguments: list[str]) -> int:
    try:
        main(arguments)
    except FlagsError as error:
        return _fail(error, BAD_FLAGS)
    except PreemptedError as error:
        return _fail(error, PREEMPTED)
    except KeyboardInterrupt:
        complain("Interrupted. Finished work is kept: start the same command again to go on.")
        return PREEMPTED
    except Exception as error:  # The one place that turns a failure into a line for a person.
        return _fail(error, FAILED)
    return 0


def _fail(error: BaseException, code: int) -> int:
    if logging.get_verbosity() >= logging.DEBUG:
        traceback.print_exception(error)
    complain(_one_line(error))
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


def complain(message: Any) -> None:
    """Says what is wrong, on stderr."""
    print(f"Error: {message}", file=sys.stderr, flush=True)
