"""The shards of a dataset in a bucket, read from their copies on this machine, fetched ahead."""

import concurrent.futures
import contextlib
import functools
import io
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging

from buckets.failures import BucketError, ChangedError
from tfrecords import framing
from tfrecords.manifest import Shard, read_manifest
from tfrecords.shard_cache import ShardCache

if TYPE_CHECKING:
    from buckets.store import Store

_AHEAD = 8  # Shards that are fetched at once, before their turn.
_LOOK_SECONDS = 0.5  # From look to look whether to wait for one that is being fetched.
_SAY_SECONDS = 15.0  # From line to line on what is being waited for.

_Future = concurrent.futures.Future[None]


class RemoteShards:
    """Shards in a bucket, by their numbers.

    Attributes:
        failure: Why one could not be had; None: none failed. What reads them in TensorFlow's
            threads tells only a part of it.
        gives_up: Says whether there is no time to wait for one that does not come.

    Args:
        store: The dataset's folder.
        shards: As the manifest has them; a number is an index into them.
        cache: Keeps the copies.
    """

    def __init__(self, store: "Store", shards: Sequence[Shard], cache: ShardCache) -> None:
        self._store, self._shards, self._cache = store, tuple(shards), cache
        self._coming: dict[int, _Future] = {}
        self._arrived: dict[int, int] = {}  # {shard: bytes} of those that are being fetched.
        self._mutex = threading.Lock()
        self._said = 0.0  # When a line on them was written, by the monotonic clock.
        self.failure: BucketError | OSError | None = None
        self.gives_up: Callable[[], bool] = lambda: False

    @property
    def nbytes(self) -> int:
        """What all of them take."""
        return self.nbytes_of(range(len(self._shards)))

    def nbytes_of(self, numbers: Iterable[int]) -> int:
        """What some of them take."""
        return sum(self._shards[number].bytes for number in numbers)

    @property
    def ahead(self) -> int:
        """How many shards may come before their turn: what half of the cache holds, 8 at most."""
        largest = max((shard.bytes for shard in self._shards), default=0)
        return max(1, min(_AHEAD, self._cache.limit // (2 * max(largest, 1))))

    @property
    def fits(self) -> bool:
        """Whether the cache may hold all of them."""
        return self.nbytes <= self._cache.limit

    def announce(self, number: int, received: Callable[[int], object] = lambda count: None) -> None:
        """Begins to fetch a shard whose turn comes, and does not wait for it."""
        with self._mutex:
            if number not in self._coming:
                self._coming[number] = self._begin(number, received)

    def _begin(
        self, number: int, received: Callable[[int], object] = lambda count: None
    ) -> _Future:
        future: _Future = concurrent.futures.Future()
        self._arrived[number] = 0
        _fetchers().put(functools.partial(self._fetch, number, future, received))
        return future

    def hold(self, number: int, *, silent: bool = False) -> Path:
        """Returns the copy of a shard, which stays there until it is released.

        Args:
            number: Which.
            silent: Whether the caller shows how much has come.

        Raises:
            BucketError: if it cannot be had, is not what the manifest says, or does not come in
                time.
            OSError: if the disk has no room.
        """
        with self._mutex:
            future = self._coming.pop(number, None) or self._begin(number)
        start = time.monotonic()
        while not concurrent.futures.wait([future], _LOOK_SECONDS).done:
            if self.gives_up():
                self.failure = BucketError(
                    "There is no time to wait for a shard that does not come. Received: "
                    f"{self._store.url_of(self._shards[number].file)}."
                )
                raise self.failure
            if not silent:
                self._say_what_is_missing(start)
        future.result()
        return self._hold(number)

    def _say_what_is_missing(self, start: float) -> None:
        """Says how much has come, where that takes long; one line for all that wait."""
        with self._mutex:
            now = time.monotonic()
            if now - max(start, self._said) < _SAY_SECONDS:
                return
            self._said = now
            arrived, total = sum(self._arrived.values()), self.nbytes_of(self._arrived)
            logging.info(
                "Waiting for data from the bucket: %.1f of %.1f MB of the shards that come next "
                "are here.", arrived / 1e6, total / 1e6,
            )  # fmt: skip

    def release(self, number: int) -> None:
        """Lets a copy go that was held."""
        self._cache.release(self._shards[number])

    def each(
        self, numbers: Iterable[int], received: Callable[[int], object] = lambda count: None
    ) -> Iterator[Path]:
        """Yields the copy of one shard after the other, while those behind it are fetched.

        Args:
            numbers: Which, in which order.
            received: Called with the number of bytes of each piece that came.

        Raises:
            As `hold`.
        """
        numbers = [*numbers]
        for place, number in enumerate(numbers):
            for coming in numbers[place : place + self.ahead]:
                self.announce(coming, received)
            path = self.hold(number, silent=True)
            try:
                yield path
            finally:
                self.release(number)

    def record(self, number: int, offset: int, size: int) -> bytes:
        """Returns one record of a shard.

        Args:
            offset: Where its frame starts, in bytes.
            size: The frame's size in bytes.

        Raises:
            ValueError: if it is damaged.
            BucketError: as `hold`.
        """
        is_here = self._cache.has(self._shards[number])
        path = self._hold(number) if is_here else self.hold(number)
        try:
            with path.open("rb") as file:
                frame = os.pread(file.fileno(), size, offset)
        finally:
            self.release(number)
        record = next(framing.read_frames(io.BytesIO(frame), size))
        if record.damage:
            raise ValueError(
                f"A shard is damaged. Received: {path}, byte {offset}: {record.damage}. Remove it: "
                "it is copied again."
            )
        return record.data

    def _fetch(self, number: int, future: _Future, received: Callable[[int], object]) -> None:
        def arrived(count: int) -> None:
            received(count)
            with self._mutex:
                self._arrived[number] = self._arrived.get(number, 0) + count

        try:
            self._hold(number, arrived)
            self.release(number)
            future.set_result(None)
        except BaseException as error:
            future.set_exception(error)
        finally:
            with self._mutex:
                self._arrived.pop(number, None)

    def _hold(self, number: int, received: Callable[[int], object] = lambda count: None) -> Path:
        try:
            return self._cache.hold(self._store, self._shards[number], received=received)
        except (FileNotFoundError, ChangedError) as error:
            self.failure = self._changed(number, error)
            raise self.failure from error
        except (BucketError, OSError) as error:
            self.failure = error
            raise

    def _changed(self, number: int, error: Exception) -> BucketError:
        """What to say of a shard that is not there any more, or is another one."""
        shard, url = self._shards[number], self._store.url_of(self._shards[number].file)
        now: list[Shard] = []
        with contextlib.suppress(ValueError, BucketError):
            now = read_manifest(self._store.url).shards
        if shard in now:
            said = "it is not there" if isinstance(error, FileNotFoundError) else f"{error}"
            return BucketError(
                f"A shard in the bucket is not what the manifest says. Received: {url}; {said} "
                "Copy it there again, or build the dataset again."
            )
        return BucketError(
            f"The dataset in the bucket was built anew while it was being read. Received: {url}, "
            "which is not in its manifest any more as it was when this command started. Start the "
            "command again: it reads what is there now, and a run on that needs another --workdir."
        )


@functools.cache
def _fetchers() -> "queue.SimpleQueue[Callable[[], None]]":
    """Threads of this process that fetch what is announced; it ends without waiting for them."""
    waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            waiting.get()()

    for _ in range(_AHEAD):
        threading.Thread(target=work, daemon=True, name="fetch shards").start()
    return waiting
