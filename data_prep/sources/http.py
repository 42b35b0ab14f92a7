"""Fetches one file over HTTP: resumed, retried, checked. `download` says which files.

Only complete and valid files get their final names, so these are never fetched again. What a stop
or a lost connection interrupted is resumed from its `.part`.
"""

import dataclasses
import random
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import requests
import urllib3

from cli.progress import Progress

_BUSY = (408, 425, 429, 500, 502, 503, 504)  # These may pass; other codes will not.
_CHUNK = 2**16

Wait = Callable[[float], object]


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long to put up with a server.

    Attributes:
        attempts: How often a file is asked for.
        connect_seconds: Time limit for a connection.
        read_seconds: Time limit for the next byte.
        first_wait: Seconds before the second attempt; doubled before each further one.
        longest_wait: Upper bound of a wait in seconds, even if Retry-After asks for more.
    """

    attempts: int = 6
    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    first_wait: float = 1.0
    longest_wait: float = 120.0


class UnavailableError(Exception):
    """A file that the server does not give; the message is the reason."""


class _PassingError(Exception):
    """A failure that the next attempt may not meet, after `retry_after` seconds or more."""

    def __init__(self, reason: str, retry_after: float = 0.0, *, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.unreachable = unreachable


class Downloader:
    """Fetches files, several at once if asked from several threads.

    Args:
        patience: How long to put up with the server.
        wait: Sleeps for a number of seconds; by default, `stop` ends the sleep.
    """

    def __init__(self, patience: Patience | None = None, wait: Wait | None = None) -> None:
        self.patience = patience or Patience()
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._reached = False
        self._session = requests.Session()  # Proxies and certificates as the environment has them.
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=64)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def stop(self) -> None:
        """Ends the downloads of other threads at their next chunk."""
        self._stopped.set()

    def fetch(
        self, url: str, path: Path, check: Callable[[Path], None], *, is_shown: bool = False
    ) -> None:
        """Fetches one file, unless it is there and not empty.

        Args:
            url: Where the server has it.
            path: Where it goes once it is complete and valid.
            check: Raises UnavailableError if the file at a path is damaged.
            is_shown: Whether to show progress.

        Raises:
            UnavailableError: if the server does not give it.
            RuntimeError: if the server cannot be reached.
        """
        if path.exists() and path.stat().st_size > 0:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        for attempt in range(1, self.patience.attempts + 1):
            try:
                self._append(url, part, is_shown)
                _check_part(part, check)
                part.replace(path)
                return
            except _PassingError as error:
                if error.unreachable and not (self._reached and self._goes_on(attempt)):
                    raise RuntimeError(_unreachable(url, error)) from error
                if not self._goes_on(attempt):
                    raise UnavailableError(f"{error} (asked {attempt} times)") from error
                self._wait(self._pause(attempt, error.retry_after))

    def _goes_on(self, attempt: int) -> bool:
        return attempt < self.patience.attempts and not self._stopped.is_set()

    def _pause(self, attempt: int, retry_after: float) -> float:
        """Returns seconds, doubled at each attempt; jitter keeps clients out of step."""
        pause = self.patience.first_wait * 2 ** (attempt - 1) * random.uniform(1, 1.25)
        return min(max(pause, retry_after), self.patience.longest_wait)

    def _append(self, url: str, part: Path, is_shown: bool) -> None:
        """Fetches the rest of a partial file."""
        have = part.stat().st_size if part.exists() else 0
        # Identity: a compressed answer would have another length than the file.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        timeout = (self.patience.connect_seconds, self.patience.read_seconds)
        try:
            with self._session.get(url, headers=headers, stream=True, timeout=timeout) as response:
                self._reached = True
                if not _is_complete(response, have):
                    _check_status(response, part, have)
                    self._write(response, part, have, is_shown)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise UnavailableError(f"not a URL to fetch: {url!r}") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            reason = f"{type(error).__name__}: {_root(error)}"
            raise _PassingError(reason, unreachable=_is_unreachable(error)) from error

    def _write(self, response: requests.Response, part: Path, have: int, is_shown: bool) -> None:
        goes_on = response.status_code == 206
        have = have if goes_on else 0
        total = have + int(response.headers.get("Content-Length", 0))
        with (
            part.open("ab" if goes_on else "wb") as file,
            Progress(total, "B", done=have) if is_shown else nullcontext() as progress,
        ):
            # Writes each byte as it comes, and raises where fewer come than were told.
            while chunk := response.raw.read1(_CHUNK):
                _write_all(file, chunk, part)
                if progress:
                    progress.add(len(chunk))
                if self._stopped.is_set():
                    raise UnavailableError("stopped")


def _write_all(file: BinaryIO, chunk: bytes, path: Path) -> None:
    try:
        file.write(chunk)
        file.flush()  # So that a killed download has all that came.
    except OSError as error:  # A full disk, say: writing does not tell of which file.
        raise OSError(error.errno, error.strerror, str(path)) from error


def _is_complete(response: requests.Response, have: int) -> bool:
    """Whether nothing is left to fetch: a kill came between the last byte and the renaming."""
    told = response.headers.get("Content-Range")
    return response.status_code == 416 and have > 0 and told == f"bytes */{have}"


def _check_status(response: requests.Response, part: Path, have: int) -> None:
    status = response.status_code
    if status in _BUSY:
        seconds = urllib3.Retry().get_retry_after(response.raw)  # Seconds or a date.
        raise _PassingError(f"HTTP {status} {response.reason}", seconds or 0.0)
    starts_here = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    if status == 416 or (status == 206 and not starts_here):
        part.unlink(missing_ok=True)
        raise _PassingError(f"HTTP {status}: its partial file does not fit")
    if status not in (200, 206):
        raise UnavailableError(f"HTTP {status} {response.reason}")


def _check_part(part: Path, check: Callable[[Path], None]) -> None:
    """Removes a damaged file, so that the next attempt fetches all of it."""
    try:
        check(part)
    except UnavailableError as error:
        part.unlink()
        raise _PassingError(str(error)) from error


def _is_unreachable(error: Exception) -> bool:
    """Whether no connection could be made: no other file can be fetched either."""
    if isinstance(error, requests.exceptions.ProxyError | requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _root(error: BaseException) -> str:
    """Returns the innermost error's message: the others wrap it in addresses of objects."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def _unreachable(url: str, error: Exception) -> str:
    return (
        f"Cannot reach {url} ({error}). Check the connection (HTTP_PROXY names a proxy), or name a "
        "mirror with --download_url. What was fetched is kept: start the same command again."
    )
