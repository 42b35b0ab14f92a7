"""Where a dataset goes: a folder, or a bucket with a folder of this machine to work in."""

import concurrent.futures
import contextlib
import fnmatch
import functools
import hashlib
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from buckets import copies, urls
from data_prep import lock
from tfrecords import files, naming
from tfrecords.manifest import Shard

if TYPE_CHECKING:
    from buckets.lease import Lease
    from buckets.store import Store

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# In a bucket: what says that a build of ours writes there, as the folder itself does on a disk.
_NOTE = f"{naming.BUILD_STATE}/made_by.txt"
_NOTE_TEXT = b"Here `python -m data_prep.build` keeps what it needs to go on where it stopped.\n"
_WHOLE = "build"  # Beside `task-3` and so on: who writes there.
_BUILDING = ".building"
_REQUESTS_AT_ONCE = 16


class Target:
    """A folder of this machine that a dataset goes to. Names are relative to it.

    Attributes:
        folder: Where the files beside the shards are written, and drawings.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.folder.name

    def place_of(self, name: str) -> str:
        """The path of a file, for a person."""
        return str(self.folder / name)

    def check(self, *, writes: bool) -> None:
        """Refuses a target that cannot be one, before anything is created.

        Args:
            writes: Whether anything is to be written there.

        Raises:
            ValueError: if a file is in its place.
        """
        candidates = (self.folder, *self.folder.absolute().parents)
        there = next(path for path in candidates if path.exists())
        if not there.is_dir():
            raise ValueError(
                f"data_dir is not a directory. Received: {self.folder}, where {there} is a file."
            )

    @contextlib.contextmanager
    def hold(self, task_index: int | None = None) -> Iterator[Callable[[], None]]:
        """Keeps other builds out; beside the tasks of one build, only the same one.

        Yields:
            What to call before a dataset is declared complete: it raises RuntimeError if another
            build has taken the target over, which it does only from one that seems to have died.

        Raises:
            RuntimeError: if another build, or the same task, is at work there.
        """
        state = self.folder / naming.BUILD_STATE
        state.mkdir(parents=True, exist_ok=True)
        with lock.hold(state, task_index, self._named_in_use):
            yield lambda: None

    @property
    def _named_in_use(self) -> str:
        """What refusals name as in use: the folder where the locks lie, which says who has them."""
        return self.place_of(naming.BUILD_STATE)

    def clear(self, shard: str = "*") -> None:
        """Removes what killed writers left; to be called while nobody writes such a shard."""
        files.remove_incomplete(self.folder, shard)

    def has_folder(self, name: str) -> bool:
        """Whether there is such a folder in it."""
        return (self.folder / name).is_dir()

    def has_any(self, folder: str, pattern: str) -> bool:
        """Whether a file directly in a folder of it has a name that matches a pattern."""
        return any((self.folder / folder).glob(pattern))

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.folder / name).exists()

    def read(self, name: str) -> bytes:
        """Returns the content of a small file.

        Raises:
            FileNotFoundError: if there is none.
        """
        return (self.folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Writes a small file, all of it or nothing."""
        files.write_atomically(self.folder / name, content)

    def put(self, *names: str) -> None:
        """Brings files that were written into `folder` to where the dataset is, in this order."""

    def remove(self, *names: str) -> None:
        """Removes files in this order; one that is not there is no error."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def built(self) -> list[str]:
        """Returns the names of all shards, and of all that builds keep to go on."""
        state = self.folder / naming.BUILD_STATE
        paths = (*self.folder.glob(naming.SHARD_GLOB), *state.iterdir())
        return [path.relative_to(self.folder).as_posix() for path in paths]

    @contextlib.contextmanager
    def workplace(self, shard: str) -> Iterator[Path]:
        """Yields the path to build a shard at."""
        yield self.folder / shard

    def keep(self, path: Path) -> str:
        """Brings a shard from where it was built to where the dataset is.

        Returns:
            What tells this object from another one of its name; empty where nothing does.
        """
        return ""

    def verify(self, shard: Shard, version: str) -> str | None:
        """Compares a shard with what a build wrote.

        Args:
            shard: What it wrote.
            version: What `keep` returned.

        Returns:
            The version that it has now; None if its bytes are others.

        Raises:
            FileNotFoundError: if it is not there.
        """
        path = self.folder / shard.file
        if path.stat().st_size != shard.bytes:
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return "" if digest == shard.sha256 else None

    def map(
        self, function: Callable[[_Item], _Result], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """Maps a function that asks for small files, in order."""
        return map(function, items)


class BucketTarget(Target):
    """A folder of a bucket.

    Shards are built on this machine, put up as they finish, and not kept here, so that a dataset
    may be larger than the disk. What is there is asked for in the bucket, never on this machine,
    where another build of the same dataset may have left its own.
    """

    def __init__(self, url: str) -> None:
        super().__init__(copies.copy_of(url, "builds"))
        self._url = url.rstrip("/")

    def __str__(self) -> str:
        return self._url

    @property
    def name(self) -> str:
        """The last part of its path."""
        return urls.split(self._url)[1]

    def place_of(self, name: str) -> str:
        """The URL of an object."""
        return urls.join(self._url, name)

    def check(self, *, writes: bool) -> None:
        """Makes the first contact.

        Raises:
            BucketError: within 10 seconds, if the bucket cannot be used.
            ValueError: if the platform's cache folder cannot be written.
        """
        if writes:
            copies.require(self.folder.parent)
        self._store.check(writes=writes)

    @contextlib.contextmanager
    def hold(self, task_index: int | None = None) -> Iterator[Callable[[], None]]:
        """Keeps other builds out, also those of other machines."""
        with super().hold(task_index):
            own = self._lease(_WHOLE if task_index is None else f"task-{task_index}")
            own.take()
            try:
                # Each takes its own before it looks at others': so not both can find none.
                self._require_no_other(own_is_whole=task_index is None)
                self.write(_NOTE, _NOTE_TEXT)
                yield own.require
            finally:
                own.release()

    @property
    def _named_in_use(self) -> str:
        """The URL as it was given: a person need not know where its leases lie."""
        return self._url

    def _require_no_other(self, *, own_is_whole: bool) -> None:
        """Refuses a whole build beside tasks, and a task beside a whole build."""
        if not own_is_whole:
            self._lease(_WHOLE).require_none()
            return
        leases = [PurePosixPath(n) for n in self._store.list(naming.BUILD_STATE) if _is_lease(n)]
        tasks = [path for path in leases if path.parent.name != _WHOLE]
        for _ in self.map(lambda path: self._lease(path.parent.name).require_none(), tasks):
            pass
        self._store.remove(*map(str, tasks))  # Of killed tasks: nobody need watch them again.

    def _lease(self, of: str) -> "Lease":
        from buckets.lease import Lease
        from buckets.store import Store

        state = self.place_of(naming.BUILD_STATE)
        return Lease(
            Store(urls.join(state, of)),
            functools.partial(lock.refusal, self._named_in_use),
            functools.partial(print, flush=True),
            named=self._named_in_use,
        )

    def clear(self, shard: str = "*") -> None:
        """Removes what killed builds left on this machine."""
        super().clear(shard)
        for path in self.folder.glob(f"{shard}.{'[0-9a-f]' * 8}{_BUILDING}"):
            shutil.rmtree(path)

    def has_folder(self, name: str) -> bool:
        """Whether there are objects below it."""
        return bool(self._store.list(name))

    def has_any(self, folder: str, pattern: str) -> bool:
        """Whether there is such an object."""
        pattern = f"{folder}/{pattern}"
        return any(fnmatch.fnmatchcase(name, pattern) for name in self._store.list(folder))

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        return self._store.entry(name) is not None

    def read(self, name: str) -> bytes:
        """Returns the content of a small object."""
        return self._store.read(name)

    def write(self, name: str, content: bytes) -> None:
        """Writes a small object."""
        self._store.write(name, content)

    def put(self, *names: str) -> None:
        """Puts files of the copy up; one that is not there is left out."""
        for name in names:
            if (self.folder / name).exists():
                self._store.upload(self.folder / name, name, compared=True)

    def remove(self, *names: str) -> None:
        """Removes objects."""
        self._store.remove(*names)

    def built(self) -> list[str]:
        """Returns the names of all shards, and of all that builds keep to go on."""
        state = f"{naming.BUILD_STATE}/"
        return [
            name
            for name in self._store.list()
            if name.startswith(state)
            or ("/" not in name and fnmatch.fnmatchcase(name, naming.SHARD_GLOB))
            if name != _NOTE and not _is_lease(name)
        ]

    @contextlib.contextmanager
    def workplace(self, shard: str) -> Iterator[Path]:
        """Yields a path of this machine that is this call's alone, and gone afterwards.

        An engine may run one task twice at a time.
        """
        folder = self.folder / f"{shard}.{secrets.token_hex(4)}{_BUILDING}"
        folder.mkdir(parents=True)
        try:
            yield folder / shard
        finally:
            shutil.rmtree(folder)

    def keep(self, path: Path) -> str:
        """Puts a shard up, and compares what is there with it."""
        return self._store.upload(path, path.name, compared=True).version

    def verify(self, shard: Shard, version: str) -> str | None:
        """Compares a shard with what a build wrote; reads it only if its version is another one."""
        entry = self._store.entry(shard.file)
        if entry is None:
            raise FileNotFoundError(self.place_of(shard.file))
        if entry.size != shard.bytes:
            return None
        if version and entry.version == version:
            return version
        with self.workplace(shard.file) as path:
            digest = self._store.download(shard.file, path)
        return entry.version if digest == shard.sha256 else None

    def map(
        self, function: Callable[[_Item], _Result], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """Maps a function that asks for small objects, in order, several at once."""
        with concurrent.futures.ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            yield from pool.map(function, items)

    @functools.cached_property
    def _store(self) -> "Store":
        from buckets.store import Store  # Brings what repeats requests: for buckets alone.

        return Store(self._url)


def of(data_dir: str) -> Target:
    """Returns what a path of this machine, or the URL of a bucket's folder, stands for."""
    return BucketTarget(data_dir) if urls.is_remote(data_dir) else Target(Path(data_dir))


def _is_lease(name: str) -> bool:
    from buckets import lease

    return PurePosixPath(name).name == lease.NAME
