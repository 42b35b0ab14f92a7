"""Training runs of the miniature that get a signal in the midst of a phase.

`python tests/support/doomed.py PHASE NTH SECONDS SIGNAL FLAGS` sends itself SIGNAL, so many
seconds after it enters PHASE for the nth time, and says when. A run that is over by then ends like
any other. The phase `import` is TensorFlow's, the only one of seconds; a signal during the first
moments of a process is Python's own to handle, not the project's.
"""

import dataclasses
import functools
import importlib
import importlib.abc
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from cli.command import PREEMPTED
from tests.support import miniature, warm

# The function that a phase is: its module, and its name there.
PHASES = {
    "import": None,
    "build": ("trainer.workdir.checkpoints", "Checkpoints.restore"),
    "features": ("tfrecords.files", "atomic_writer"),
    "trace": ("trainer.numerics.reproducible_model", "ReproducibleModel.train_step"),
    "train": ("trainer.loop.history_log", "HistoryLog.on_train_batch_end"),
    "checkpoint": ("trainer.workdir.checkpoints", "Checkpoints.begin"),
    "evaluate": ("trainer.loop.validation", "Validation.on_epoch_end"),
    "report": ("trainer.train", "finish"),
}


@dataclasses.dataclass(frozen=True)
class Kill:
    """A signal that is to end a process of so many replicas: when it comes, and what it is."""

    phase: str
    nth: int
    seconds: float
    number: signal.Signals
    replicas: int = 1

    @property
    def code(self) -> int:
        """The exit code that is right."""
        return -self.number if self.number == signal.SIGKILL else PREEMPTED

    def command(self, flags: Sequence[str], start: warm.Start = warm.up) -> list[str]:
        """The command line of the run that gets it; from warm there is no import to be killed."""
        doom = (self.phase, str(self.nth), str(self.seconds), str(int(self.number)))
        command = miniature.command(
            f"--cpu_replicas={self.replicas}", *flags, script=(__file__, *doom)
        )
        return command if self.phase == "import" else start(command)


def survive(
    flags: Sequence[str], kills: Iterable[Kill], start: warm.Start = warm.up
) -> Iterator[tuple[Kill, float]]:
    """Starts a run again after each kill; yields the kills and how long each process took to end.

    Args:
        flags: Those of trainer.main for the run.
        kills: What comes to its processes, one after the other; the last process is let alone.
        start: How the processes start.

    Raises:
        RuntimeError: if a process ends otherwise than it should.
    """
    for kill in kills:
        done = subprocess.run(
            kill.command(flags, start),
            capture_output=True, text=True, env=miniature.environment(), check=False,
        )  # fmt: skip
        ended = time.time()
        if done.returncode == 0:
            return  # It was over before the moment came.
        if done.returncode != kill.code:
            raise RuntimeError(f"{kill} ended with {done.returncode}: {done.stderr}")
        [moment] = re.findall(r"^doomed at ([\d.]+)", done.stderr, re.MULTILINE)
        yield kill, ended - float(moment)
    done = miniature.train(*flags, start=start)
    if done.returncode:
        raise RuntimeError(f"The run did not go on: {done.stderr}")


def _arm(target: tuple[str, str], nth: int, seconds: float, number: int) -> None:
    """Wraps a function, so that its nth call starts the clock."""
    module, name = target
    owner: Any = importlib.import_module(module)
    *classes, name = name.split(".")
    for class_name in classes:
        owner = getattr(owner, class_name)
    whole = getattr(owner, name)
    calls = iter(range(1, sys.maxsize))

    @functools.wraps(whole)
    def doomed(*arguments: Any, **named: Any) -> Any:
        if next(calls) == nth:
            _send_later(seconds, number)
        return whole(*arguments, **named)

    setattr(owner, name, doomed)


def _send_later(seconds: float, number: int) -> None:
    """Sends the signal to this process."""

    def send() -> None:
        time.sleep(seconds)
        print(f"doomed at {time.time()}", file=sys.stderr, flush=True)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


class _AtImport(importlib.abc.MetaPathFinder):
    """Does something once, as the import of TensorFlow begins; finds nothing."""

    def __init__(self, do: Callable[[], None]) -> None:
        self._do = do

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "tensorflow":
            sys.meta_path.remove(self)
            self._do()


def _main() -> None:
    phase, nth, seconds, number = sys.argv[1:5]
    del sys.argv[1:5]
    target = PHASES[phase]
    if target is None:
        sys.meta_path.insert(0, _AtImport(lambda: _send_later(float(seconds), int(number))))
        miniature.run()
    else:
        miniature.run(lambda: _arm(target, int(nth), float(seconds), int(number)))


if __name__ == "__main__":
    _main()
