"""The phases of a run, and the seconds that each took in this process."""

import contextlib
import time
from collections.abc import Callable, Iterator


class Phases:
    """Counts the seconds of named phases; one within another counts for itself alone.

    Args:
        clock: Counts seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._running: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Adds the time until its end to a phase."""
        self._switch()
        self._running.append(name)
        self.seconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self._switch()
            self._running.pop()

    def _switch(self) -> None:
        now = self._clock()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now
