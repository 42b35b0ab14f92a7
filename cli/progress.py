"""How far long work is: a bar on a terminal, a line from time to time elsewhere."""

import sys
import time
from types import TracebackType

from tqdm import tqdm


class Progress:
    """Counts what is done; used as a context manager.

    Args:
        total: How much there is to do.
        unit: What is counted: `photographs`, or `B` for bytes, which are shown in MB.
        done: What was done before.
        period: Seconds between two lines, where no terminal shows a bar.
    """

    def __init__(self, total: int, unit: str, *, done: int = 0, period: float = 30.0) -> None:
        self._total, self._unit, self._done, self._period = total, unit, done, period
        self._bar = tqdm(
            total=total, unit=unit, initial=done, unit_scale=unit == "B",
            disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._next_line = time.monotonic() + period

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()

    def add(self, count: int, now: float | None = None) -> None:
        """Counts more work as done at a monotonic time in seconds; unset: now."""
        self._done += count
        self._bar.update(count)
        now = time.monotonic() if now is None else now
        if self._bar.disable and now >= self._next_line:
            self._next_line = now + self._period
            print(self._line(), flush=True)

    def _line(self) -> str:
        if self._unit == "B":
            return f"{self._done / 1e6:.0f} of {self._total / 1e6:.0f} MB"
        return f"{self._done} of {self._total} {self._unit}"
