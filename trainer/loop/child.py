"""A command that another one starts: its lines are passed on, and so is a signal that stops it."""

import os
import subprocess
import threading
from collections.abc import Sequence
from typing import IO

from trainer.loop.signals import StopSignals

_LOOK_SECONDS = 0.2


def run(command: Sequence[str], stop: StopSignals, *, title: str, known: set[str]) -> int:
    """Returns the command's exit code, once it has ended.

    It hears no signal but this one's: a Ctrl-C of the terminal, which would reach both, would count
    as the second of two there.

    Args:
        command: The program and its arguments.
        stop: Once a signal came, the command is told, and then waited for.
        title: What stands before each line of its standard output; its errors are shown as they
            are.
        known: Lines that were shown before, of another command of the kind, and are not again;
            those that are shown are added.

    Raises:
        PreemptedError: if a signal came.
    """
    with stop.deferred():
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert child.stdout
        passing_on = threading.Thread(target=_pass_on, args=(child.stdout, title, known))
        passing_on.start()
        code = _wait(child, stop)
        passing_on.join()
    return code


def _wait(child: subprocess.Popen[str], stop: StopSignals) -> int:
    is_told = False
    while True:
        try:
            return child.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if stop.requested and not is_told:
                child.terminate()
                is_told = True


def _pass_on(lines: IO[str], title: str, known: set[str]) -> None:
    for line in lines:
        if line not in known:
            print(f"{title} {line}", end="", flush=True)
            known.add(line)
