"""Copies on this machine of shards that lie in buckets: by content, bounded, shared by processes.

A copy is named after its sha256, so that datasets, runs and processes share it. Locks of the
operating system, which end with the process, keep two from fetching one shard, and a shard that is
about to be read from being removed.
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from buckets import copies
from tfrecords.manifest import Shard

if TYPE_CHECKING:
    from buckets.store import Store

_SHARE_OF_DISK = 0.9  # Checkpoints may go to the same one.
_FULL = "The disk of the copies of shards is full; --data_cache names another folder"
_MOST_HELD = 64  # What nobody gives back is let go in the end.


class _Copy(NamedTuple):
    """A file of the cache: a whole shard, or the part of one. The least recently used comes first.

    Attributes:
        used: When it was last used, in nanoseconds.
        size: Bytes.
        path: Where.
    """

    used: int
    size: int
    path: Path


class ShardCache:
    """Shards that were read from buckets before.

        from buckets.store import Store
        from tfrecords.shard_cache import ShardCache

        cache = ShardCache("/scratch/shards", gib=50)
        with cache.held(Store("s3://bucket/data"), shard) as path:
            content = path.read_bytes()

    Several threads may use it, and several processes its folder.

    Args:
        folder: Where they are; None: in the platform's cache folder.
        gib: How many GiB they may take, of nine tenths of what the disk has room for. Where all
            that is there is being read, they take more.
    """

    def __init__(self, folder: str | None = None, gib: float = copies.SHARDS_GIB) -> None:
        self._given = folder, gib
        self.folder = (Path(folder) if folder else copies.cache_folder()) / "shards"
        self.limit = int(gib * 2**30)
        self._held: list[tuple[str, int]] = []  # (sha256, locked descriptor), the oldest first.
        self._mutex = threading.Lock()
        self._coming: dict[Path, int] = {}  # {path: bytes} of the shards that are being fetched.
        self._room = threading.Condition()  # Of what is told of them; notified when one ends.

    def __reduce__(self) -> tuple[type["ShardCache"], tuple[str | None, float]]:
        return ShardCache, self._given  # What it holds stays in its process.

    @contextlib.contextmanager
    def held(
        self,
        store: "Store",
        shard: Shard,
        *,
        checked: bool = False,
        received: Callable[[int], object] = lambda count: None,
    ) -> Iterator[Path]:
        """Yields the copy of a shard, which stays there meanwhile.

        Raises:
            As `hold`.
        """
        path = self.hold(store, shard, checked=checked, received=received)
        try:
            yield path
        finally:
            self.release(shard)

    def hold(
        self,
        store: "Store",
        shard: Shard,
        *,
        checked: bool = False,
        received: Callable[[int], object] = lambda count: None,
    ) -> Path:
        """Returns the copy of a shard, which stays there until it is released.

        Of the copies that nobody releases the oldest are let go, beyond 64: once a file is open,
        it can be read to its end all the same.

        Args:
            store: The dataset's folder.
            shard: As the manifest has it.
            checked: Whether a copy that is there is compared with its sha256 once more.
            received: Called with the number of bytes of each piece that came.

        Raises:
            FileNotFoundError: if the bucket has no such shard.
            ChangedError: if it has another one of this name.
            BucketError: if it cannot be read.
            OSError: if the disk has no room, or the folder cannot be written.
        """
        path = self._path(shard)
        descriptor = self._open(path, shard, checked)
        if descriptor is None:
            descriptor = self._fetch(store, shard, received)
        else:
            received(shard.bytes)
        with self._mutex:
            self._held.append((shard.sha256, descriptor))
            oldest = self._held.pop(0)[1] if len(self._held) > _MOST_HELD else None
        if oldest is not None:
            os.close(oldest)
        return path

    def release(self, shard: Shard) -> None:
        """Lets a copy go that was held; one that is held no more stays as it is."""
        with self._mutex:
            mine = next((each for each in self._held if each[0] == shard.sha256), None)
            if mine:
                self._held.remove(mine)
        if mine:
            os.close(mine[1])

    def check(self, shards: Iterable[Shard]) -> None:
        """Sees whether shards can be copied, unless they all are: then nothing need be written.

        Raises:
            ValueError: if the folder cannot be made, or written to.
        """
        if not all(map(self.has, shards)):
            folder = self._given[0]
            copies.require(self.folder, f"data_cache={folder}" if folder else None)

    def has(self, shard: Shard) -> bool:
        """Whether there is a copy, whatever is in it."""
        return self._path(shard).exists()

    def _path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.sha256}.tfrecord"

    def _open(self, path: Path, shard: Shard, checked: bool = False) -> int | None:
        """Returns the descriptor of a copy that is there, locked against its removal; else None."""
        descriptor = _locked(path, fcntl.LOCK_SH)
        if descriptor is None:
            return None
        if _is_whole(descriptor, shard, checked):
            with contextlib.suppress(PermissionError):  # It may be another user's.
                os.utime(path)
            return descriptor
        os.close(descriptor)
        path.unlink(missing_ok=True)
        return None

    def _fetch(self, store: "Store", shard: Shard, received: Callable[[int], object]) -> int:
        """Fetches a shard, unless another did meanwhile, and returns its locked descriptor."""
        path = self._path(shard)
        self.folder.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            descriptor = self._open(path, shard)
            if descriptor is not None:
                received(shard.bytes)
                return descriptor
            with self._reserved(path, shard.bytes):
                store.download(
                    shard.file, path, size=shard.bytes, sha256=shard.sha256, received=received
                )
            for part in _parts_of(path):  # Of an object that has been put there anew since.
                part.unlink()
            descriptor = self._open(path, shard)
            if descriptor is None:
                # Not ENOENT, which would be said of the bucket.
                raise OSError(errno.ESTALE, "Somebody removed the copy", str(path))
            self._make_room(0)  # Others came beside it.
            return descriptor

    @contextlib.contextmanager
    def _reserved(self, path: Path, size: int) -> Iterator[None]:
        """Keeps room for a shard beside those under way; waits for one to end if need be.

        Raises:
            OSError: if the disk has no room for this one alone, or fills up meanwhile.
        """
        with self._room:
            while (free := self._free_for(path, size)) < 0:
                if not self._coming:
                    needed = _missing(path, size)
                    raise OSError(
                        errno.ENOSPC,
                        f"The disk of the copies of shards has {free + needed:,} bytes free, and "
                        f"the next one has {needed:,}; --data_cache names another folder",
                        str(self.folder),
                    )
                self._room.wait()
            self._coming[path] = size
        try:
            yield
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(error.errno, _FULL, str(self.folder)) from error
        finally:
            with self._room:
                del self._coming[path]
                self._room.notify_all()

    def _free_for(self, path: Path, size: int) -> int:
        """Makes room for a shard, and returns how many bytes stay free once all have come."""
        needed = sum(itertools.starmap(_missing, [(path, size), *self._coming.items()]))
        self._make_room(needed)
        return shutil.disk_usage(self.folder).free - needed

    def _make_room(self, needed: int) -> None:
        """Removes what was not used for longest, until so many bytes more are within the limit."""
        found = sorted(self._copies())
        taken = sum(copy.size for copy in found)
        room = shutil.disk_usage(self.folder).free + taken
        limit = min(self.limit, int(_SHARE_OF_DISK * room))
        for copy in found:
            if taken + needed <= limit:
                break
            if _remove(copy.path):
                taken -= copy.size

    def _copies(self) -> Iterator[_Copy]:
        """Yields every whole shard and every part of one."""
        for path in self.folder.iterdir():
            if path.suffix in (".tfrecord", ".part"):
                with contextlib.suppress(FileNotFoundError):  # Another process removed it.
                    status = path.stat()
                    yield _Copy(status.st_mtime_ns, status.st_size, path)


def _parts_of(path: Path) -> list[Path]:
    """What was fetched of a shard before something cut it off."""
    return [*path.parent.glob(f"{path.name}.*.part")]


def _missing(path: Path, size: int) -> int:
    """How many bytes of a shard are not on the disk yet."""
    begun = 0
    for part in _parts_of(path):
        with contextlib.suppress(FileNotFoundError):  # It has become the shard.
            begun += part.stat().st_size
    return 0 if path.exists() else max(0, size - begun)


def _is_whole(descriptor: int, shard: Shard, checked: bool) -> bool:
    """Whether a copy is what the manifest says: by its size, or by every byte."""
    if os.fstat(descriptor).st_size != shard.bytes:
        return False
    if not checked:
        return True
    with open(descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256


def _remove(path: Path) -> bool:
    """Removes a file of the cache that nobody is reading or fetching, and returns whether so."""
    whole = path.with_name(f"{path.name.partition('.')[0]}.tfrecord")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_alone(whole, fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError):  # It is being fetched, maybe by another user.
            return False
        if path != whole:
            path.unlink(missing_ok=True)
            return True
        try:
            descriptor = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # It is being read; it is another user's.
            return False
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)
        return True


@contextlib.contextmanager
def _alone(path: Path, how: int = 0) -> Iterator[None]:
    """Keeps all others, threads and processes, from fetching or removing a shard.

    Raises:
        BlockingIOError: if another one does so, and `how` is not to wait.
    """
    lock = path.with_suffix(".lock")
    descriptor = _locked(lock, fcntl.LOCK_EX | how, os.O_CREAT)
    assert descriptor is not None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path, how: int, flags: int = 0) -> int | None:
    """Opens what is at a path, locks it and returns its descriptor; None: nothing is there.

    Raises:
        BlockingIOError: if another one holds it, and `how` is not to wait.
        OSError: if it cannot be opened, or if the file system has no locks.
    """
    # On a network file system only what can be written can be locked against all others.
    flags |= os.O_RDWR if how & fcntl.LOCK_EX else os.O_RDONLY
    while True:
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, how)
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise
        except FileNotFoundError:
            pass  # Its last holder removed what we had opened.
        except OSError as error:
            os.close(descriptor)
            raise OSError(error.errno, error.strerror, str(path)) from None
        os.close(descriptor)
