"""How far long work is: a bar on a terminal, a line from time to time elsewhere."""

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from tqdm import tqdm


class Progress:
    """Counts what is done; used as a context manager.

    Args:
        total: How much there is to do.
        unit: What is counted: `photographs`, or `B` for bytes, which are shown in MB.
        done: What was done before.
        period: Seconds between two lines, where no terminal shows a bar.
        title: What stands before the bar; such a bar is gone when the work is done.
        lines_to: Where the lines go; unset: stdout.
        clock: Counts seconds.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        *,
        done: int = 0,
        period: float = 30.0,
        title: str | None = None,
        lines_to: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._unit, self._done, self._period = total, unit, done, period
        self._title, self._lines_to, self._clock = title, lines_to, clock
        self._note = ""
        self._bar = tqdm(
            total=total, unit=unit if unit == "B" else f" {unit}", initial=done,
            unit_scale=unit == "B", desc=title, leave=title is None, **_size(),
            disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._done_before, self._start = done, clock()
        self._next_line = self._start + period

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar away, or leaves it as it is; for callers that cannot use `with`."""
        self._bar.close()

    def add(self, count: int) -> None:
        """Counts more work as done."""
        self._done += count
        self._bar.update(count)
        now = self._clock()
        if self._bar.disable and now >= self._next_line:
            self._next_line = now + self._period
            print(self._line(now), file=self._lines_to, flush=True)

    def say(self, text: str) -> None:
        """Shows a few words behind the count from now on, such as a loss."""
        self._note = text
        self._bar.set_postfix_str(text, refresh=False)

    def _line(self, now: float) -> str:
        title = f"{self._title}: " if self._title else ""
        note = f", {self._note}" if self._note else ""
        if self._unit == "B":
            counted = f"{self._done / 1e6:.0f} of {self._total / 1e6:.0f} MB"
        else:
            counted = f"{self._done} of {self._total} {self._unit}"
        return f"{title}{counted}{self._speed(now)}{note}"

    def _speed(self, now: float) -> str:
        """What is done in a second, and the time left; nothing where there is nothing to tell."""
        since, done = now - self._start, self._done - self._done_before
        if done <= 0 or since <= 0 or self._done >= self._total:
            return ""
        left = tqdm.format_interval((self._total - self._done) * since / done)
        per_second = done / since
        speed = f"{per_second / 1e6:.1f} MB/s" if self._unit == "B" else f"{per_second:.1f}/s"
        return f" ({speed}, {left} left)"


def _size() -> dict[str, int]:
    """The size to assume of a terminal that reports none, as a container's may: no bar else."""
    if not sys.stderr.isatty() or all(os.get_terminal_size(sys.stderr.fileno())):
        return {}
    return {"ncols": 80, "nrows": 24}
