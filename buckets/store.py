"""The one door to object stores: everything that lies below a URL, by names relative to it."""

import contextlib
import datetime
import functools
import hashlib
import logging
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import tenacity

from buckets import clients, copies, urls
from buckets.failures import (
    BucketError,
    ChangedError,
    ShortReadError,
    explain,
    has_wrong_bytes,
    is_passing,
    no_such_bucket,
    said,
)

_CONTACT_SECONDS = 8.0  # For the first answer: a person waits, and no work would be lost.
_PATIENCE_SECONDS = 240.0  # For what goes wrong later: a store that is updated, say.
_QUIET_SECONDS = 10.0  # What passes sooner is not worth a line.
_SAY_SECONDS = 60.0  # From line to line, of all requests that go wrong.
_RANGE_BYTES = 8 * 2**20
_RANGES_AT_ONCE = 4

_Result = TypeVar("_Result")


class Entry(NamedTuple):
    """An object.

    Attributes:
        size: Bytes.
        version: What changes whenever its content does.
    """

    size: int
    version: str


class Store:
    """What lies below one URL. Several threads may use it, and a process that is forked may not.

        from buckets.store import Store

        store = Store("s3://bucket/runs/first")
        store.check(writes=True)  # One line for a person where something is in the way.
        store.upload(path, "checkpoints/step-00000010.npz", compared=True)

    Whatever a client raises becomes FileNotFoundError or BucketError; what may pass is tried again.

    Args:
        url: Of the folder, or of the bucket.
        patience_s: For so many seconds.

    Raises:
        ValueError: if the scheme is not known.
        RuntimeError: if its client is not installed; names the extra.
    """

    def __init__(self, url: str, patience_s: float = _PATIENCE_SECONDS) -> None:
        clients.require(url)
        self.url = urls.normalise(url)
        self._scheme = urls.scheme_of(url) or ""
        self._patience_s = patience_s
        self._spoke = -math.inf  # When it last said that something is tried again.

    def __reduce__(self) -> tuple[type["Store"], tuple[str, float]]:
        return Store, (self.url, self._patience_s)  # The client stays in its process.

    def __str__(self) -> str:
        return self.url

    def url_of(self, name: str) -> str:
        """The URL of an object."""
        return urls.join(self.url, name) if name else self.url

    def check(self, *, writes: bool = False) -> None:
        """Makes the first contact, before a long run starts.

        Args:
            writes: Whether something is to be written there.

        Raises:
            BucketError: within 10 seconds, if there is no such bucket, if it cannot be reached, or
                if these credentials may not list it, or write to it.
        """
        clients.load(self._scheme)
        found: list[BaseException | None] = []

        def ask() -> None:
            try:
                self._probe(writes)
                found.append(None)
            except BaseException as error:
                found.append(error)

        # A client may look for credentials, or repeat what fails, for minutes.
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(_CONTACT_SECONDS)
        if not found:
            raise BucketError(
                f"The object store does not answer within {_CONTACT_SECONDS:.0f} s. Received: "
                f"{self.url}. See whether it can be reached from this machine, and whether its "
                "endpoint and credentials are the right ones."
            )
        if isinstance(found[0], FileNotFoundError):
            raise no_such_bucket(self.url) from found[0]
        if found[0]:
            raise self._explained(found[0], "", "listed or written" if writes else "listed")

    def _probe(self, writes: bool) -> None:
        bucket = urls.bucket_of(self.url)
        prefix = self._path("").removeprefix(bucket).strip("/")
        clients.CLIENTS[self._scheme].probe(self._fs, bucket, prefix)
        if writes:
            path = self._path(f".check-{secrets.token_hex(4)}")
            self._fs.pipe_file(path, b"Whether this bucket can be written to.")
            self._fs.rm_file(path)

    def list(self, prefix: str = "") -> dict[str, Entry]:
        """Returns every object whose name begins with a folder's, in that folder and below it.

        What can be no file is left out: objects that consoles make to show empty folders, `a/`, and
        names that lead out of the folder, `a/../..`.

        Raises:
            BucketError: if they cannot be listed.
        """
        base = self._path("").rstrip("/")
        try:
            found = self._ask(
                "listed", prefix, lambda: self._fs.find(self._path(prefix), detail=True)
            )
        except FileNotFoundError:
            return {}
        return {
            path.lstrip("/").removeprefix(base.lstrip("/")).lstrip("/"): _entry(info)
            for path, info in found.items()
            if info["type"] == "file" and path.strip("/") != base.strip("/") and _is_file(path)
        }

    def entry(self, name: str) -> Entry | None:
        """Returns what is known of an object; None where there is none.

        Raises:
            BucketError: if that cannot be told.
        """
        try:
            info = self._ask("looked up", name, lambda: self._fs.info(self._path(name)))
        except FileNotFoundError:
            return None
        except BucketError:
            self._ask("listed", name, lambda: self._probe(writes=False))  # It says more of why.
            raise
        return _entry(info) if info["type"] == "file" else None

    def read(self, name: str) -> bytes:
        """Returns the content of a small object.

        Raises:
            FileNotFoundError: if there is none.
            BucketError: if it cannot be read.
        """
        return self._ask("read", name, lambda: self._fs.cat_file(self._path(name)))

    def head(self, name: str, count: int) -> bytes:
        """Returns the first bytes of an object that has some.

        Raises:
            FileNotFoundError: if there is none.
            BucketError: if it cannot be read.
        """
        return self._ask(
            "read", name, lambda: self._fs.cat_file(self._path(name), start=0, end=count)
        )

    def download(
        self,
        name: str,
        path: Path,
        *,
        size: int | None = None,
        sha256: str | None = None,
        received: Callable[[int], object] = lambda count: None,
    ) -> str:
        """Makes a file of an object, all of it or nothing; goes on where it was cut off before.

        One process at a time may do so for one path.

        Args:
            path: Takes the name once all is there; until then `NAME.VERSION.part` grows beside it.
            size: Bytes that it must have; None: any.
            sha256: What its hex digest must be; None: any.
            received: Called with the number of bytes of each piece that came.

        Returns:
            The hex sha256 of the file.

        Raises:
            FileNotFoundError: if there is no such object.
            ChangedError: if it is another one than expected, after a second try.
            BucketError: if it cannot be read.
        """
        entry = self.entry(name)
        if entry is None:
            raise FileNotFoundError(self.url_of(name))
        if size is not None and entry.size != size:
            raise ChangedError(
                f"The object has another size than expected. Received: {self.url_of(name)}, "
                f"{entry.size:,} bytes; expected: {size:,}."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        tag = hashlib.sha256(entry.version.encode()).hexdigest()[:8]
        part = path.with_name(f"{path.name}.{tag}.part")
        for _ in range(2):  # Bytes that were wrong on their way are right the next time.
            digest = self._fill(name, part, entry.size, received)
            if sha256 in (None, digest):
                part.replace(path)
                return digest
            part.unlink()
        raise ChangedError(
            f"The object is not the one that was expected. Received: {self.url_of(name)} of sha256 "
            f"{digest}; expected: {sha256}."
        )

    def _fill(self, name: str, part: Path, size: int, received: Callable[[int], object]) -> str:
        """Appends what is missing of an object to a file, and returns the hex sha256 of it all."""
        digest = hashlib.sha256()
        with copies.naming(part), part.open("ab+") as file:
            if file.tell() > size:
                file.truncate(0)
            have = file.tell()
            file.seek(0)
            while block := file.read(_RANGE_BYTES):
                digest.update(block)
            received(have)
            for block in self._blocks(name, size, start=have):
                file.write(block)
                digest.update(block)
                received(len(block))
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest()

    def _blocks(self, name: str, size: int, start: int = 0) -> Iterator[bytes]:
        """Yields the bytes of an object from one on, several ranges at once and in order."""
        path = self._path(name)
        at_once = _RANGE_BYTES * _RANGES_AT_ONCE
        for first in range(start, size, at_once):
            starts = [*range(first, min(first + at_once, size), _RANGE_BYTES)]
            ends = [min(begin + _RANGE_BYTES, size) for begin in starts]

            def read(starts: list[int] = starts, ends: list[int] = ends) -> list[bytes]:
                blocks = self._fs.cat_ranges([path] * len(starts), starts, ends, on_error="raise")
                if [*map(len, blocks)] != [b - a for a, b in zip(starts, ends, strict=True)]:
                    raise ShortReadError("fewer bytes came than were asked for")
                return blocks

            yield from self._ask("read", name, read)

    def write(self, name: str, content: bytes) -> None:
        """Writes a small object, all of it or nothing.

        Raises:
            BucketError: if that cannot be.
        """
        try:
            self._ask("written", name, lambda: self._fs.pipe_file(self._path(name), content))
        except FileNotFoundError as error:
            raise no_such_bucket(self.url_of(name)) from error

    def create(self, name: str, content: bytes) -> bool:
        """Writes a small object only if there is none of this name, and returns whether it did.

        Of several that try at once, one does.

        Raises:
            BucketError: if that cannot be told.
        """
        try:
            self._ask(
                "written",
                name,
                lambda: self._fs.pipe_file(self._path(name), content, mode="create"),
            )
        except FileExistsError:
            return False
        except FileNotFoundError as error:
            raise no_such_bucket(self.url_of(name)) from error
        return True

    def upload(
        self,
        path: Path,
        name: str,
        *,
        compared: bool = False,
        in_haste: Callable[[], bool] = lambda: False,
    ) -> Entry:
        """Makes an object of a file.

        Args:
            compared: Whether to read it back, and to put it up again if it is not the file.
            in_haste: Says whether there is no time to read it back, or to go on with that.

        Raises:
            FileNotFoundError: if the file is gone.
            BucketError: if it cannot be written, or is another one each time that it is read back.
        """
        put = clients.CLIENTS[self._scheme].put
        for attempt in range(2):
            try:
                self._ask(
                    "written",
                    name,
                    lambda: put(self._fs, path, self._path(name)),
                )
            except FileNotFoundError as error:
                if not path.exists():
                    raise
                if attempt:
                    raise no_such_bucket(self.url_of(name)) from error
                continue  # The store has given up an upload in pieces.
            entry = self.entry(name)
            is_whole = entry is not None and entry.size == path.stat().st_size
            if entry and is_whole and (not compared or self._holds(name, path, in_haste)):
                return entry
        raise BucketError(
            f"What was put into the bucket is not what came back from it. Received: "
            f"{self.url_of(name)}, put from {path}. Start the same command again."
        )

    def holds(self, name: str, path: Path) -> bool:
        """Whether an object is a file, byte for byte.

        Raises:
            FileNotFoundError: if there is no such object.
            BucketError: if it cannot be read.
        """
        entry = self.entry(name)
        if entry is None:
            raise FileNotFoundError(self.url_of(name))
        return entry.size == path.stat().st_size and any(
            self._holds(name, path, lambda: False)
            for _ in range(2)  # As in `download`.
        )

    def _holds(self, name: str, path: Path, in_haste: Callable[[], bool]) -> bool:
        """Whether an object of a file's size has its bytes too, as far as there is time."""
        if in_haste():
            return True
        try:
            with path.open("rb") as file:
                for block in self._blocks(name, path.stat().st_size):
                    if block != file.read(len(block)):
                        return False
                    if in_haste():
                        break
            return True
        except ChangedError:  # The client compares too, where the store has kept a checksum.
            return False

    def remove(self, *names: str) -> None:
        """Removes objects; one that is not there is no error.

        Raises:
            BucketError: if one cannot be removed.
        """
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._ask("removed", name, functools.partial(self._fs.rm_file, self._path(name)))

    @property
    def _fs(self) -> Any:
        return clients.file_system(self._scheme)

    def _path(self, name: str) -> str:
        """The name of an object as the client has it: without the scheme."""
        return self._fs._strip_protocol(self.url_of(name))

    def _ask(self, doing: str, name: str, request: Callable[[], _Result]) -> _Result:
        """Makes a request, again and again where what went wrong may pass."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda e: is_passing(e) or has_wrong_bytes(e)),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=20),
            stop=self._gives_up,
            before_sleep=lambda state: self._say_that_it_goes_on(state, doing, self.url_of(name)),
            reraise=True,
        )
        try:
            return retrying(request)
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:
            raise self._explained(error, name, doing) from error

    def _gives_up(self, state: tenacity.RetryCallState) -> bool:
        """Whether a request is not made again: bytes that are wrong twice are wrong for good."""
        error = state.outcome.exception() if state.outcome else None
        if error and has_wrong_bytes(error):
            return state.attempt_number >= 2
        return (state.seconds_since_start or 0) >= self._patience_s

    def _say_that_it_goes_on(self, state: tenacity.RetryCallState, doing: str, url: str) -> None:
        """Says why a request takes long, before it is made again."""
        seconds, now = state.seconds_since_start or 0, time.monotonic()
        error = state.outcome.exception() if state.outcome else None
        if error and seconds >= _QUIET_SECONDS and now - self._spoke >= _SAY_SECONDS:
            self._spoke = now
            logging.getLogger(__name__).warning(
                "%s could not be %s yet (%s). It is tried again, for %.0f s at most.",
                url, doing, said(error), self._patience_s - seconds,
            )  # fmt: skip

    def _explained(self, error: BaseException, name: str, doing: str) -> BucketError:
        # The client itself may be what could not be made.
        is_anonymous = functools.partial(clients.is_anonymous, self._scheme)
        return explain(error, self.url_of(name), doing, is_anonymous=is_anonymous)


def _is_file(path: str) -> bool:
    """Whether what has this name can be a file below a folder."""
    return not path.endswith("/") and ".." not in path.split("/")


def _entry(info: dict[str, Any]) -> Entry:
    marks = (info.get(key) for key in ("generation", "ETag", "etag", "md5Hash", "created"))
    mark = next((mark for mark in marks if mark), "")
    if isinstance(mark, datetime.datetime):  # Of `memory`, which lists it as seconds.
        mark = mark.timestamp()
    return Entry(int(info["size"]), f"{mark}".strip('"'))
