"""The folder of a dataset, on this machine or in a bucket: its small files, and what lies in it."""

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from buckets import urls

if TYPE_CHECKING:
    from buckets.store import Store


class DataFolder:
    """Where a dataset is.

    Attributes:
        store: What lies in the bucket; None: it is a folder of this machine.

    Raises:
        BucketError: if it is in a bucket, and that cannot be listed.
        RuntimeError: if it is in a bucket whose client is not installed.
    """

    def __init__(self, data_dir: str | os.PathLike[str]) -> None:
        self._data_dir = str(data_dir)
        self.store = _store(self._data_dir) if urls.is_remote(self._data_dir) else None

    def __str__(self) -> str:
        return self.store.url if self.store else str(Path(self._data_dir))

    def place_of(self, name: str) -> str:
        """The path or the URL of a file, for a person."""
        return self.store.url_of(name) if self.store else str(Path(self._data_dir) / name)

    def read(self, name: str) -> bytes:
        """Returns the content of a small file.

        Raises:
            FileNotFoundError: if there is none.
            OSError: if it cannot be read.
            BucketError: likewise, in a bucket.
        """
        return self.store.read(name) if self.store else (Path(self._data_dir) / name).read_bytes()

    def size(self, name: str) -> int | None:
        """Returns the bytes of a file; None where there is none."""
        if self.store:
            return self._sizes.get(name)
        path = Path(self._data_dir) / name
        return path.stat().st_size if path.exists() else None

    def names(self) -> list[str]:
        """The files that lie right in it, in order."""
        if self.store:
            return sorted(name for name in self._sizes if "/" not in name)
        return sorted(path.name for path in Path(self._data_dir).iterdir())

    @functools.cached_property
    def _sizes(self) -> dict[str, int]:
        """Of the objects in the bucket, listed once."""
        assert self.store
        return {name: entry.size for name, entry in self.store.list().items()}


@functools.cache
def _store(url: str) -> "Store":
    """The door to a bucket, which was found open; not asked again in this process."""
    from buckets.store import Store

    store = Store(url)
    store.check()
    return store
