"""A training run of the miniature that gets a signal in the midst of a phase.

`python tests/doomed.py PHASE NTH SECONDS SIGNAL FLAGS` sends itself SIGNAL, so many seconds after
it enters PHASE for the nth time, and says when. A run that is over by then ends like any other.
"""

import functools
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

# The function that a phase is: its module, and its name there.
PHASES = {
    "build": ("trainer.train", "prepare"),
    "trace": ("trainer.exact_model", "ExactModel.train_step"),
    "train": ("trainer.callbacks", "HistoryLog.on_train_batch_end"),
    "checkpoint": ("trainer.checkpoints", "Checkpoints.save"),
    "evaluate": ("trainer.callbacks", "Validation.on_epoch_end"),
    "report": ("trainer.train", "finish"),
}


def command(phase: str, nth: int, seconds: float, number: int, flags: Sequence[str]) -> list[str]:
    """The command line of such a run; the phase `import` begins with the process."""
    doom = (phase, str(nth), str(seconds), str(int(number)))
    return [sys.executable, __file__, *doom, "--weights=none", "--num_gpus=0", *flags]


def arm(phase: str, nth: int, seconds: float, number: int) -> None:
    """Wraps the function of the phase, so that its nth call starts the clock."""
    module, name = PHASES[phase]
    owner: Any = importlib.import_module(module)
    *classes, name = name.split(".")
    for class_name in classes:
        owner = getattr(owner, class_name)
    whole = getattr(owner, name)
    calls = iter(range(1, sys.maxsize))

    @functools.wraps(whole)
    def doomed(*arguments: Any, **named: Any) -> Any:
        if next(calls) == nth:
            send_later(seconds, number)
        return whole(*arguments, **named)

    setattr(owner, name, doomed)


def send_later(seconds: float, number: int) -> None:
    """Sends the signal to this process."""

    def send() -> None:
        time.sleep(seconds)
        print(f"doomed at {time.time()}", file=sys.stderr, flush=True)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


if __name__ == "__main__":
    phase, nth, seconds, number = sys.argv[1:5]
    doom = (float(seconds), signal.Signals(int(number)))
    del sys.argv[1:5]
    if phase == "import":
        send_later(*doom)

    from tests import miniature

    if phase == "import":
        miniature.run()
    miniature.run(lambda: arm(phase, int(nth), *doom))
