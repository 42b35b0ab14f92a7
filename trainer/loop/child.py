"""A command that another one starts: its lines are passed on, and so is a signal that stops it.

Its standard input is a pipe that nothing is written to: it ends with whoever started the command,
however that ended.
"""

import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import IO, Any

from trainer.loop.signals import StopSignals
from trainer.workdir import mirror

_LOOK_SECONDS = 0.2
_STARTED = "ANIMALS_STARTED"  # In the environment of a command that another one started.


def training(
    given: Sequence[str], values: Mapping[str, Any], without: Collection[str] = ()
) -> list[str]:
    """Returns the command of a run of the trainer.

    Args:
        given: Flags, each as `--name=value`.
        values: Those that are set in their place, {name: value}; of None, there is none.
        without: Those that are left out.
    """
    kept = [flag for flag in given if _name(flag) not in (*values, *without)]
    added = [f"--{name}={value}" for name, value in values.items() if value is not None]
    return [sys.executable, "-m", "trainer.main", *kept, *added]


def _name(flag: str) -> str:
    return flag.removeprefix("--").partition("=")[0]


def titled(title: str, known: set[str]) -> Callable[[str], None]:
    """Returns what shows a command's lines with a title before each.

    Args:
        title: What stands before each line.
        known: Lines that were shown before, of another command of the kind, and are not again;
            those that are shown are added.
    """

    def show(line: str) -> None:
        if line not in known:
            print(f"{title} {line}", end="", flush=True)
            known.add(line)

    return show


def run(command: Sequence[str], stop: StopSignals, show: Callable[[str], object]) -> int:
    """Returns the command's exit code, once it has ended.

    It hears no signal but this one's: a Ctrl-C of the terminal, which would reach both, would count
    as the second of two there.

    Args:
        command: The program and its arguments.
        stop: Once a signal came, the command is told, and then waited for.
        show: Takes each line of its standard output; its errors are shown as they are.

    Raises:
        PreemptedError: if a signal came.
        Exception: whatever `show` raised, once the command has ended.
    """
    with stop.deferred():
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            env={**os.environ, **mirror.environment(), "PYTHONUNBUFFERED": "1", _STARTED: "1"},
        )
        assert child.stdin
        assert child.stdout
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            passing_on = pool.submit(_pass_on, child.stdout, show)
            code = _wait(child, stop)
        child.stdin.close()
        passing_on.result()
    return code


def watch_for_orphanhood() -> None:
    """In a command that `run` has started: once nobody waits for it any more, it is told to stop.

    It then ends as at any SIGTERM, with its work kept.
    """
    if os.environ.pop(_STARTED, None):
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _wait(child: subprocess.Popen[str], stop: StopSignals) -> int:
    is_told = False
    while True:
        try:
            return child.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if stop.requested and not is_told:
                child.terminate()
                is_told = True


def _pass_on(lines: IO[str], show: Callable[[str], object]) -> None:
    try:
        for line in lines:
            show(line)
    finally:  # The command would wait forever for room in a pipe that nobody reads.
        for _ in lines:
            pass
