"""Turns SIGTERM and SIGINT into an orderly end: a machine is taken away, or a person asks."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

from cli.command import PreemptedError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While entered, a signal ends the run with PreemptedError: at once, or after a step.

    Attributes:
        requested: Whether a signal came while the end was deferred.
    """

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False

    def __enter__(self) -> Self:
        self._before = [signal.signal(number, self._handle) for number in _SIGNALS]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in zip(_SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, the first signal only sets `requested`; a second one ends the run at once."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._deferred and not self.requested:
            self.requested = True
            return
        raise PreemptedError(
            f"Stopped by {signal.Signals(number).name}. Start the same command again to go on."
        )
