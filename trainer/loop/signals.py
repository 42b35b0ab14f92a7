"""Turns signals into an orderly end: a machine is taken away, a person asks, a terminal is closed.

Python runs a handler only between two of its own instructions, and one of TensorFlow's calls may
take minutes. So a thread, which the signals wake at once, ends the process where nothing else does:
20 s after the first signal, and at a second one.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

from cli.command import PREEMPTED, PreemptedError

GRACE_SECONDS = 20.0  # Clouds take a machine away 30 s after they say so.

# A notice that the machine will be taken away, as Slurm sends it with --signal=USR1@60. The system
# that shuts down sends SIGTERM soon after it, so a notice is never taken for the first of two. Nor
# is a hang-up: a shell that ends sends it a second time, and systemd sends it beside SIGTERM.
NOTICE = signal.SIGUSR1
_NOTICES = (NOTICE, signal.SIGHUP)
_ORDERS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While entered, a signal ends the run with PreemptedError: at once, or after a step.

    Attributes:
        requested: Whether a signal came.
        reason: Its name.
        heard: Set as a signal comes, also while the main thread is in one of TensorFlow's calls.
        saving: Held while a checkpoint is written, which the end of the grace then waits for.
    """

    def __init__(self) -> None:
        self.requested = False
        self.reason = ""
        self.heard = threading.Event()
        self.saving = threading.Lock()
        self._deferrals = 0
        self._counting = threading.Lock()

    def __enter__(self) -> Self:
        reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno())
        threading.Thread(target=self._watch, args=(reader,), daemon=True).start()
        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # By nohup.
        heeded = [*_ORDERS, NOTICE] if ignored else [*_ORDERS, *_NOTICES]
        self._before = {number: signal.signal(number, self._handle) for number in heeded}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.requested:  # The process ends, and is watched until it has.
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._writer.close()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal only sets `requested`; whoever looks at it ends the run.

        Several threads may be inside, each in its own time.
        """
        self.raise_if_requested()  # A library may have swallowed what the handler raised.
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)
        self.raise_if_requested()  # It came after the last look.

    def _count(self, change: int) -> None:
        with self._counting:  # The handler only reads, so it never waits.
            self._deferrals += change

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            return  # The run is ending, and must not be told so again while it says its last line.
        self.requested, self.reason = True, signal.Signals(number).name
        if not self._deferrals:
            self.raise_if_requested()

    def raise_if_requested(self) -> None:
        """Ends the run if a signal came."""
        if self.requested:
            raise PreemptedError(
                f"Stopped by {self.reason}. Start the same command again to go on."
            )

    def _watch(self, reader: socket.socket) -> None:
        """Reads the number of each signal as it comes, whatever the main thread is doing."""
        orders = 0
        grace = threading.Timer(GRACE_SECONDS, self._end_late)
        grace.daemon = True
        for [number] in iter(lambda: reader.recv(1), b""):
            if number not in (*_ORDERS, *_NOTICES):
                continue
            self.heard.set()
            orders += number in _ORDERS
            if orders == 2:
                _end("a second signal")
            if not grace.ident:
                grace.start()

    def _end_late(self) -> None:
        why = f"{self.reason or 'a signal'}, {GRACE_SECONDS:.0f} s after it"
        if not self.saving.acquire(blocking=False):
            _say(
                f"Being stopped by {why}: the checkpoint is still being written. A second signal "
                "ends the run without it."
            )
            self.saving.acquire()
        _end(why)


def _end(why: str) -> None:
    """Ends the process from any thread, without a lock that the main thread may hold."""
    _say(f"Error: Stopped by {why}. Start the same command again to go on from its checkpoint.")
    os._exit(PREEMPTED)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # Whoever would read it may have gone.
        os.write(2, f"{line}\n".encode())
