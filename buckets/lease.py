"""A lease on what lies below a URL: one writer at a time, although object stores have no locks.

The lease is an object. Its holder raises a number in it every few seconds; whoever else comes
watches the number, by a clock of their own: while it moves, they are refused. So no two clocks are
compared, and a lease ends with its holder, be it by kill -9.
"""

import contextlib
import json
import math
import os
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from buckets.failures import BucketError
from buckets.store import Store

NAME = ".lease"

_RELEASE_SECONDS = 5.0  # A store that does not answer must not hold up the end of a process.
_START_TOLERANCE = 5.0  # The clock that a process's start is told by may be set in between.


class LostLeaseError(RuntimeError):
    """Another process has taken the lease over."""


class Lease:
    """The lease on a store, for the one process that writes there.

        from buckets.lease import Lease
        from buckets.store import Store

        lease = Lease(Store("s3://bucket/runs/first"), refusal=lambda holder: f"{holder} has it.")
        lease.take()
        lease.require()  # Before what would harm another holder.
        lease.release()

    Args:
        store: What it is on.
        refusal: Returns, given who holds it, what to tell a person.
        say: Takes a line for a person who has to wait.
        named: What a person knows it as; None: the store's URL.
        beat_s: Seconds between two numbers of its holder.
        watch_s: For so many seconds the number of one that may be gone is watched.
        settle_s: After so many it is looked up who has taken over, of several that tried.
    """

    def __init__(
        self,
        store: Store,
        refusal: Callable[[str], str],
        say: Callable[[str], object] = print,
        *,
        named: str | None = None,
        beat_s: float = 5.0,
        watch_s: float = 17.0,
        settle_s: float = 2.0,
    ) -> None:
        self._store, self._refusal, self._say = store, refusal, say
        self._named = named or store.url
        # A request that is repeated more and more rarely would let the number stand still.
        self._impatient = Store(store.url, patience_s=beat_s)
        self._beat_s, self._watch_s, self._settle_s = beat_s, watch_s, settle_s
        self._own = {
            "token": secrets.token_hex(8),
            "count": 0,
            "url": store.url,
            **_this_process(),
        }
        self._is_lost = False
        self._confirmed = -math.inf  # Since when it has been seen to be this one's.
        self._ended = threading.Event()
        self._renewing = threading.Lock()

    def take(self) -> None:
        """Returns once it is this process's, and kept from then on by a thread.

        Raises:
            RuntimeError: if another process holds it.
            BucketError: if that cannot be told.
        """
        while not self._store.create(NAME, self._content()):
            found = self._read()
            if found and found.get("token") == self._own["token"]:
                break  # It was written, and the store's answer was lost.
            if found is not None and self._may_take_over(found):
                self._take_over(found)
                break
        threading.Thread(target=self._keep, daemon=True).start()

    def require_none(self) -> None:
        """Returns once it is seen that no process holds it; writes nothing.

        Raises:
            RuntimeError: if one does.
            BucketError: if that cannot be told.
        """
        while (found := self._read()) is not None and not self._may_take_over(found):
            pass

    @property
    def is_lost(self) -> bool:
        """Whether another process is known to have taken it over."""
        return self._is_lost

    def require(self) -> None:
        """Returns if it is still this process's; asks the store where that was long ago.

        Raises:
            LostLeaseError: if it is not.
            BucketError: if that cannot be told.
        """
        if not self._is_lost and time.monotonic() - self._confirmed > 2 * self._beat_s:
            self._renew(self._store)
        if self._is_lost:
            raise LostLeaseError(self._what_became_of_it())

    def _what_became_of_it(self) -> str:
        found = self._read()
        if found is None:
            return (
                "The lease on the folder is gone: somebody has removed it, or another process has "
                "taken the folder over and has ended. Nothing more is written to it. Received: "
                f"{self._named}. Start the same command again to go on from what is there."
            )
        return (
            f"Another process has taken the folder over, and nothing more is written to it. "
            f"Received: {self._named}, in use by {_in_words(found)}. End one of the two; the "
            "other goes on."
        )

    def release(self) -> None:
        """Gives it back, so that the next process need not watch it. What fails does no harm."""
        self._ended.set()
        giving = threading.Thread(target=self._give_back, daemon=True)
        giving.start()
        giving.join(_RELEASE_SECONDS)

    def _may_take_over(self, found: dict[str, Any]) -> bool:
        """Whether the holder is gone; False where the object is.

        Raises:
            RuntimeError: if it is not.
        """
        if found.get("url", self._store.url) != self._store.url:
            return True  # It came along as the folder was copied: its holder works elsewhere.
        is_alive = _is_alive(found)
        if is_alive is None:
            return self._has_stopped(found)
        if is_alive:
            raise RuntimeError(self._refusal(_in_words(found)))
        return True

    def _has_stopped(self, found: dict[str, Any]) -> bool:
        self._say(
            f"{self._named} was in use by {_in_words(found)}. Watching for "
            f"{self._watch_s:.0f} s whether it still is ..."
        )
        end = time.monotonic() + self._watch_s
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, self._beat_s / 5))
            now = self._read()
            if now is None:
                return False
            if now != found:
                raise RuntimeError(self._refusal(_in_words(now)))
        return True

    def _take_over(self, found: dict[str, Any]) -> None:
        """Writes it anew. Of several that do so at once, the last one to write has it.

        Raises:
            RuntimeError: if that is another one.
        """
        now = self._read()
        if now is None or now == found:
            self._store.write(NAME, self._content())
            time.sleep(self._settle_s)
            now = self._read()
        if now is None or now.get("token") != self._own["token"]:
            raise RuntimeError(self._refusal(_in_words(now or {})))

    def _keep(self) -> None:
        while not (self._ended.wait(self._beat_s) or self._is_lost):
            with contextlib.suppress(BucketError):  # The next time it may answer.
                self._renew(self._impatient)

    def _renew(self, store: Store) -> None:
        with self._renewing:
            asked = time.monotonic()  # Not when the answer came, which may have taken long.
            found = self._read(store)
            if self._ended.is_set():
                return
            if found is None or found.get("token") != self._own["token"]:
                self._is_lost = True
                return
            self._own["count"] += 1
            store.write(NAME, self._content())
            self._confirmed = asked

    def _give_back(self) -> None:
        with contextlib.suppress(BucketError), self._renewing:
            found = self._read()
            if found is not None and found.get("token") == self._own["token"]:
                self._store.remove(NAME)

    def _content(self) -> bytes:
        return json.dumps(self._own).encode()

    def _read(self, store: Store | None = None) -> dict[str, Any] | None:
        """What the object says; None where there is none."""
        try:
            content = json.loads((store or self._store).read(NAME))
        except FileNotFoundError:
            return None
        except ValueError:
            content = None
        return content if isinstance(content, dict) else {}


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "machine": _machine(),
        "started": _start_of(os.getpid()),
    }


def _machine() -> str:
    """What tells apart the machines, their starts and their containers, in which pids are given.

    Names of hosts do not: a pod that is started anew has the name of the one before.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # Not Linux.
        return f"{uuid.getnode():x}"


def _start_of(pid: int) -> float | None:
    """When a process was started, in seconds; None where there is none."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def _is_alive(holder: dict[str, Any]) -> bool | None:
    """Whether the holder's process runs; None where another machine would have to tell."""
    pid, then = holder.get("pid"), holder.get("started")
    if holder.get("machine") != _machine() or not isinstance(pid, int):
        return None
    started = _start_of(pid)
    return (
        started is not None and isinstance(then, float) and abs(started - then) < _START_TOLERANCE
    )


def _in_words(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', 'unknown')} on host {holder.get('host', 'unknown')}"
