"""A source in a bucket: its listing says what there is, and what is needed is copied from it.

The copy lies in the platform's cache folder, one for each URL. `fetched.jsonl` in it tells of each
file which version of its object it is, so that none is fetched twice and one that was replaced is.
"""

import contextlib
import fnmatch
import functools
import hashlib
import stat
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from io import RawIOBase
from pathlib import Path
from typing import NamedTuple

import msgspec

from buckets import copies, urls
from buckets.store import Entry, Store
from cli import machine
from data_prep.sources import fetching
from data_prep.sources.trees import Tree
from tfrecords import junk, originals

_RECORD = "fetched.jsonl"
_LONGEST_NAME = 255  # Bytes, on the file systems in use.
_SMALL = 8 * 2**20  # Bytes that are asked for at once; a larger object is resumed where it stopped.


class _Stamp(NamedTuple):
    """Size in bytes and time of change in ns of a file of the copy."""

    size: int
    changed: int


class _Fetched(msgspec.Struct, frozen=True, array_like=True):
    """A line of the record: a file, which version of its object it is, and its stamp since then."""

    name: str
    version: str
    size: int
    changed: int


class BucketTree(Tree):
    """What lies below a URL, by its listing.

    Args:
        store: The URL's.
        entries: {name: entry} of its objects.
    """

    missing = "not in the bucket"

    def __init__(self, store: Store, entries: Mapping[str, Entry]) -> None:
        self._store = store
        self._copy = copies.copy_of(store.url, "photographs")
        # It ends like the URL, as some annotations repeat the end of their folder's path.
        ending = filter(_is_name, urls.without_scheme(store.url).split("/"))
        super().__init__(store.url, self._copy.joinpath("files", *ending))
        paths = [name for name in entries if _is_path(name)]
        self._folders = _folders_of(paths)
        folders = set().union(*self._folders.values())
        self._entries = {name: entries[name] for name in paths if name not in folders}
        self._names: dict[str, list[str]] = defaultdict(list)
        for name in self._entries:
            parent, _, last = name.rpartition("/")
            self._names[parent].append(last)
        # A name that ends so is the mark that some tools leave of a folder.
        strange = [name for name in entries if name not in self._entries and name[-1:] != "/"]
        if strange:
            print(
                f"Warning: no file can have the names of {len(strange)} objects below {store.url}, "
                f"such as {originals.shown(strange[0])!r}: they are left out.",
                file=sys.stderr,
                flush=True,
            )

    def check(self, option: str) -> None:
        """Refuses a URL below which there is nothing."""
        if not self._entries:
            raise ValueError(
                f"{option} is empty: there are no objects below this URL. Received: {self.place}. "
                "Mend it, or put the photographs there."
            )

    def shown(self, path: Path) -> str:
        """The URL of what a path is the copy of."""
        return self._store.url_of(self._name(path))

    def is_file(self, path: Path) -> bool:
        """Whether there is such an object."""
        return self._name(path) in self._entries

    def is_folder(self, path: Path) -> bool:
        """Whether there are objects below it."""
        name = self._name(path)
        return name in self._names or name in self._folders

    def glob(self, pattern: str) -> list[Path]:
        """Returns the objects whose names match a pattern, sorted."""
        depth = pattern.count("/")  # So that no star stands for a slash.
        return sorted(
            self.root / name
            for name in self._entries
            if name.count("/") == depth and fnmatch.fnmatchcase(name, pattern)
        )

    def folders(self, parent: Path) -> list[Path]:
        """Returns what stands for folders directly in another one, sorted."""
        return sorted(self.root / name for name in self._folders.get(self._name(parent), ()))

    def names(self, folder: Path) -> list[str]:
        """Returns the last names of the objects directly in a folder."""
        return self._names.get(self._name(folder), [])

    def files(self, folder: Path) -> Iterator[Path]:
        """Yields every object below a folder, except in folders that systems leave behind."""
        yield from (folder / name for name in self.names(folder))
        for below in self.folders(folder):
            if not junk.is_folder_of_none(below):
                yield from self.files(below)

    def fetch(self, paths: Iterable[str], *, at_once: int = 16, unit: str = "photograph") -> None:
        """Copies objects to this machine, unless their copies are what the bucket has.

        One process at a time does so. What the bucket has no more is removed from the copy.

        Raises:
            BucketError: if one cannot be read.
            ValueError: if the disk has no room for them.
            VanishedError: if somebody clears the cache folder meanwhile.
        """
        names = [*filter(_is_path, dict.fromkeys(map(self._name, paths)))]
        if not self._outdated(names):
            return
        with self.in_use(), fetching.alone_in(self._copy):
            outdated = self._outdated(names)  # Another process may have been here.
            wanted = [name for name in outdated if name in self._entries]
            for gone in set(outdated).difference(wanted):
                (self.root / gone).unlink(missing_ok=True)
            if wanted:
                self._fetch_all(wanted, at_once, unit)

    def require_kept(self, path: Path) -> None:
        """Refuses to call an object missing of which only the copy is."""
        name = self._name(path)
        if name in self._entries and _stamp_of(self.root / name) is None:
            raise copies.vanished(path, self.shown(path))

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Says of a copy that is gone that it was one."""
        try:
            yield
        except FileNotFoundError as error:  # Of an object it is raised too, with no file's name.
            path = Path(error.filename or "")
            if not path.is_relative_to(self._copy):
                raise
            of = self.shown(path) if path.is_relative_to(self.root) else self.place
            raise copies.vanished(path, of) from error

    def _name(self, path: Path | str) -> str:
        """The name of the object that a path is the copy of."""
        text, root = str(path), str(self.root)
        return "" if text == root else text.removeprefix(f"{root}/")

    def _outdated(self, names: Iterable[str]) -> list[str]:
        """Returns those whose copies are missing, or are not what the bucket has."""
        record = self._read_record()
        return [name for name in names if not self._is_current(name, record.get(name))]

    def _is_current(self, name: str, fetched: _Fetched | None) -> bool:
        stamp, entry = _stamp_of(self.root / name), self._entries.get(name)
        if entry is None or stamp is None:
            return stamp is None and entry is None
        return fetched == _Fetched(name, entry.version, *stamp)

    def _read_record(self) -> dict[str, _Fetched]:
        path = self._copy / _RECORD
        lines = path.read_bytes().splitlines() if path.exists() else []
        return {fetched.name: fetched for line in lines for fetched in _decode(line)}

    def _fetch_all(self, names: list[str], at_once: int, unit: str) -> None:
        machine.require_disk(self._copy, sum(self._entries[name].size for name in names))
        units = unit if len(names) == 1 else f"{unit}s"
        print(f"Fetching {len(names)} {units} from {self.place}, {at_once} at once", flush=True)
        incoming = self._copy / "incoming"
        incoming.mkdir(exist_ok=True)
        # Without a buffer: each line is there as soon as its file is, whatever ends this process.
        with (self._copy / _RECORD).open("ab", buffering=0) as record:
            record.write(b"\n")  # A kill may have torn the last line.
            get = functools.partial(self._get, record)
            with contextlib.closing(
                fetching.several_at_once(get, names, at_once, unit=units)
            ) as done:
                for _ in done:
                    pass
        for given_up in incoming.iterdir():  # Begun by a killed build, of objects that are gone.
            given_up.unlink()

    def _get(self, record: RawIOBase, name: str) -> None:
        """Copies an object, unless it has gone since it was listed."""
        path = self.root / name
        # Under a short name of its own: the longest that there may be have no room for an ending.
        part = self._copy / "incoming" / hashlib.sha256(name.encode()).hexdigest()
        try:
            with self.in_use():
                self._receive(name, part)
        except FileNotFoundError:
            del self._entries[name]
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part.replace(path)
        status = path.stat()
        version = self._entries[name].version
        fetched = _Fetched(name, version, status.st_size, status.st_mtime_ns)
        record.write(msgspec.json.encode(fetched) + b"\n")

    def _receive(self, name: str, part: Path) -> None:
        entry = self._entries[name]
        if entry.size <= _SMALL:
            content = self._store.read(name)
            if len(content) == entry.size:
                with copies.naming(part):
                    part.write_bytes(content)
                return
        self._store.download(name, part)  # It is large, or was replaced since it was listed.


def read(url: str) -> BucketTree:
    """Lists what lies below a URL.

    Raises:
        BucketError: if it cannot be listed; within 10 seconds, if nothing can be had there.
        RuntimeError: if the client of its scheme is not installed.
        ValueError: if the platform's cache folder cannot be written.
    """
    store = Store(url)
    copies.require(copies.cache_folder())
    store.check()
    return BucketTree(store, store.list())


def fetch_file(url: str) -> Path:
    """Copies one annotation file to this machine, unless its copy is what the bucket has.

    Raises:
        ValueError: if there is none, or if the platform's cache folder cannot be written.
        BucketError: if it cannot be read.
        RuntimeError: if the client of its scheme is not installed.
    """
    folder, name = urls.split(url)
    if not urls.is_remote(folder):
        raise ValueError(f"This names a bucket and no file in it. Received: annotations={url}.")
    store = Store(folder)
    copies.require(copies.cache_folder())
    store.check()
    entry = store.entry(name)
    if entry is None:
        raise ValueError(f"There is no such annotation file. Received: {url}.")
    tree = BucketTree(store, {name: entry})
    path = tree.root / name
    tree.fetch([str(path)], unit="annotation file")
    return path


def _stamp_of(path: Path) -> _Stamp | None:
    """The stamp of a file of the copy; None if there is none, or can be none of this name."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return _Stamp(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _decode(line: bytes) -> list[_Fetched]:
    """A line of the record; nothing of one that a kill has torn."""
    try:
        return [msgspec.json.decode(line, type=_Fetched)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []


def _folders_of(names: Iterable[str]) -> dict[str, set[str]]:
    """Returns {folder: the folders directly in it}; the outermost is ""."""
    folders: dict[str, set[str]] = defaultdict(set)
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in (beside := folders[folder.rpartition("/")[0]]):
            beside.add(folder)
            folder = folder.rpartition("/")[0]
    return folders


def _is_path(name: str) -> bool:
    """Whether a file below a folder can have an object's name: it must stay inside of it."""
    return all(map(_is_name, name.split("/")))


def _is_name(part: str) -> bool:
    size = len(part.encode(errors="surrogatepass"))
    return part not in ("", ".", "..") and "\0" not in part and size <= _LONGEST_NAME
