"""A folder of this machine with copies of objects, and a record of which versions they are."""

import contextlib
import fcntl
import json
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from buckets import copies
from buckets.store import Entry, Store

_SETTLES = 5  # An object that is replaced while it is read is read again, so often.


class Replica:
    """Copies of what lies below a store's URL. One process at a time may change one folder.

    The record lies beside the folder. It holds, of each file that was fetched or put, the version
    of the object, and size and time of the file: where either has changed, the two may differ.

    Args:
        store: Where the objects are.
        root: The folder; an object `a/b` is its file `a/b`.
    """

    def __init__(self, store: Store, root: Path) -> None:
        self._store, self._root = store, root
        self._path = root.with_name(f"{root.name}.json")
        self._saving = threading.Lock()
        self._record: dict[str, list[Any]] = self._read_record()

    def _read_record(self) -> dict[str, list[Any]]:
        try:
            content = json.loads(self._path.read_text())
        except (OSError, ValueError):  # Then everything is fetched anew.
            return {}
        return content if isinstance(content, dict) else {}

    def names(self) -> list[str]:
        """The objects that the record knows."""
        return list(self._record)

    def is_current(self, name: str, entry: Entry) -> bool:
        """Whether the file is the copy of this version."""
        return self._record.get(name) == [entry.version, *_mark(self._root / name)]

    def has_seen(self, name: str, entry: Entry) -> bool:
        """Whether this version was fetched or put, whatever has become of the file since."""
        return self._record.get(name, [None])[0] == entry.version

    def is_unchanged(self, name: str) -> bool:
        """Whether the file is as it was fetched or put."""
        return self._record.get(name, [None])[1:] == _mark(self._root / name)

    def fetch(self, name: str, entry: Entry | None = None, *, anew: bool = False) -> Path:
        """Returns the file of an object, fetched if it is not current.

        Args:
            entry: What is known of the object; None: it is looked up.
            anew: Whether to fetch it in any case.

        Raises:
            FileNotFoundError: if there is no such object.
            BucketError: if it cannot be read.
        """
        path = self._root / name
        entry = entry or self._store.entry(name)
        for _ in range(_SETTLES):
            if entry is None:
                raise FileNotFoundError(self._store.url_of(name))
            if self.is_current(name, entry) and not anew:
                break
            self._store.download(name, path)
            after = self._store.entry(name)
            if after == entry:  # Else it was replaced meanwhile: its parts may be of both.
                self._record[name] = [entry.version, *_mark(path)]
                break
            entry = after
        return path

    def put(
        self,
        name: str,
        *,
        compared: bool = False,
        in_haste: Callable[[], bool] = lambda: False,
        snapshot: bool = True,
    ) -> None:
        """Makes an object of a file.

        Args:
            compared, in_haste: As `Store.upload` takes them.
            snapshot: Whether somebody may write to the file meanwhile.

        Raises:
            FileNotFoundError: if the file is gone.
            BucketError: if it cannot be written.
        """
        path = self._root / name
        mark = _mark(path)
        with _snapshot(path) if snapshot else contextlib.nullcontext(path) as source:
            entry = self._store.upload(source, name, compared=compared, in_haste=in_haste)
        self._record[name] = [entry.version, *mark]

    def remove(self, name: str) -> None:
        """Removes an object, then its file.

        Raises:
            BucketError: if it cannot be removed.
        """
        self._store.remove(name)
        self.forget(name)

    def forget(self, name: str) -> None:
        """Removes a file alone."""
        (self._root / name).unlink(missing_ok=True)
        self._record.pop(name, None)

    def save(self) -> None:
        """Writes the record. What it does not know is fetched anew, so it may be late."""
        with self._saving:
            incomplete = self._path.with_suffix(".json.incomplete")
            with copies.naming(incomplete):
                incomplete.write_text(json.dumps(dict(self._record)))
            incomplete.replace(self._path)


def fetched(url: str, names: Sequence[str], *, writes: bool = False) -> Path:
    """Returns the folder that holds copies of some objects below a URL, current ones.

    An object that is not there has no file there either. Several processes may do so at once.

    Args:
        names: Of the objects.
        writes: Whether something is to be written there later.

    Raises:
        RuntimeError: if the client of its store is not installed.
        BucketError: if the bucket cannot be read, or written.
        ValueError: if the platform's cache folder cannot be written.
    """
    store, root = Store(url), copies.copy_of(url, "read")
    copies.require(root.parent)
    store.check(writes=writes)
    with held(root):
        replica = Replica(store, root)
        for name in names:
            try:
                replica.fetch(name)
            except FileNotFoundError:
                replica.forget(name)
        replica.save()
    return root


@contextlib.contextmanager
def held(root: Path, say: Callable[[str], object] = lambda line: None) -> Iterator[None]:
    """Waits for the lock of a copy, and holds it, where the file system has locks.

    Args:
        say: Takes a line for a person who has to wait.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    with root.with_name(f"{root.name}.lock").open("a") as file:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"Waiting for another process that works in {root} ...")
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _mark(path: Path) -> list[int]:
    """Size and time of a file; nothing where there is none."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [stat.st_size, stat.st_mtime_ns]


@contextlib.contextmanager
def _snapshot(path: Path) -> Iterator[Path]:
    """Yields a copy of a file that others may be writing to; of a database, a whole one."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        if path.suffix == ".db":
            with (
                contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True))
                as source,
                contextlib.closing(sqlite3.connect(copy)) as target,
            ):  # fmt: skip
                source.backup(target)
        else:
            shutil.copyfile(path, copy)
        yield copy
