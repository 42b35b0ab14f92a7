"""Photographs that are objects in buckets: what lies where, and their bytes."""

import contextlib
import errno
import io
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from buckets import urls
from buckets.failures import BucketError, said
from buckets.store import Store
from tfrecords import heif, junk, originals
from tfrecords.unusable import UnavailableImageError
from trainer.inference.ahead import Room, ahead

_HEAD = 64 * 2**10  # Bytes: of nearly all photographs enough to tell that they are.
_MOST = 64 * 2**20  # Bytes that are read of one of which those do not tell.


class Objects:
    """Objects by their URLs. Several threads may use it.

    The first contact with each bucket says within 10 seconds what is in the way. That, and
    whatever else keeps all of a bucket from being read, is a BucketError; where the client of a
    scheme is not installed, it is a RuntimeError. All methods raise them.
    """

    def __init__(self) -> None:
        self._answered: set[str] = set()
        self._stores: dict[str, Store] = {}  # One for a folder, which says once what takes long.
        self._lock = threading.Lock()

    def read(self, url: str, room: Room = lambda size: None) -> bytes:
        """Returns an object's content.

        Args:
            room: Called with its size before it is read.

        Raises:
            FileNotFoundError: if there is none.
            UnusableImageError: if it is larger than photographs are, or cannot be read alone.
        """
        missing = FileNotFoundError(errno.ENOENT, "There is no such object", url)
        if url.rstrip("/") == _bucket(url):
            raise missing
        folder, name = _split(url)
        store = self._store(folder)
        try:
            with _blaming_it_alone(store):
                entry = store.entry(name)
                if entry is None:
                    raise missing
                originals.require_size(entry.size)
                room(entry.size)
                return store.read(name)
        except FileNotFoundError:
            raise missing from None

    def is_folder(self, url: str) -> bool:
        """Whether a URL means what lies below it, as one with a slash behind it does.

        The name of a photograph is taken for one: reading it will say whether it is there.
        """
        if url.endswith("/") or url == _bucket(url):
            return True
        folder, name = _split(url)
        store = self._store(folder)
        if junk.is_photograph(Path(name)):
            return False
        with contextlib.suppress(UnavailableImageError), _blaming_it_alone(store):
            return store.entry(name) is None
        return False  # Reading it will say why.

    def is_there(self, url: str) -> bool:
        """Whether there is such an object, or are any below it."""
        folder, name = _split(url)
        return self._store(folder).entry(name) is not None or bool(self.below(url))

    def below(self, url: str) -> list[tuple[str, ...]]:
        """Returns the parts of the names of all objects below a URL, in a folder's order.

        Those in folders that systems leave behind are left out.
        """
        names = [tuple(name.split("/")) for name in self._store(url).list()]
        return sorted(
            parts for parts in names if not any(map(junk.is_folder_of_none, map(Path, parts[:-1])))
        )

    def are_photographs(self, several: Sequence[str]) -> list[bool]:
        """Whether objects that nobody named are photographs, which may then be damaged ones.

        Those whose names do not say are looked into, several at once.
        """
        by_name = {url: junk.by_name(Path(url)) for url in several}
        unclear = [url for url, is_one in by_name.items() if is_one is None]
        with contextlib.closing(ahead(self._begins_as_photograph, unclear)) as looked:
            by_name |= {url: answer() for url, answer in zip(unclear, looked, strict=True)}
        return [bool(by_name[url]) for url in several]

    def _begins_as_photograph(self, url: str, room: Room) -> bool:
        """Whether an object is a photograph, by its bytes: the first, where they tell."""
        folder, name = _split(url)
        store = self._store(folder)
        with (
            contextlib.suppress(UnavailableImageError, FileNotFoundError),
            _blaming_it_alone(store),
        ):
            size = entry.size if (entry := store.entry(name)) else 0
            head = store.head(name, min(_HEAD, size)) if size else b""
            if heif.is_heic(head) or _opens(head):
                return True
            if _HEAD < size <= _MOST:
                room(size)
                return _opens(store.read(name))
        return False

    def _store(self, url: str) -> Store:
        """Returns what lies below a URL, once its bucket has answered."""
        with self._lock:
            store = self._stores.setdefault(url, Store(url))
            if (bucket := _bucket(url)) not in self._answered:
                store.check()
                self._answered.add(bucket)
        return store


@contextlib.contextmanager
def _blaming_it_alone(store: Store) -> Iterator[None]:
    """Tells what is wrong with one object from what all others of its bucket would meet too.

    Raises:
        UnavailableImageError: for the former.
        BucketError: for the latter.
    """
    try:
        yield
    except BucketError as error:
        store.check()
        why = said(error.__cause__ or error).removesuffix(".")
        raise UnavailableImageError(f"cannot be read: {why}") from error


def _split(url: str) -> tuple[str, str]:
    """Returns the URL of the folder and the name; of two slashes in a row, the second is its."""
    folder, name = urls.split(url)
    bare = folder.rstrip("/")
    return bare, f"{folder[len(bare) :]}{name}"


def _bucket(url: str) -> str:
    return f"{urls.scheme_of(url)}://{urls.bucket_of(url)}"


def _opens(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)):
            return True
    except Exception:  # Plug-ins raise anything.
        return False
