"""The files and folders that a source lies in, on this machine or in a bucket."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from buckets import urls
from tfrecords import walk


class Tree:
    """What lies below a folder of this machine.

    Attributes:
        place: The folder as it was given, for messages.
        root: Where it is on this machine; the paths of all methods begin with it.
        missing: What to say of a photograph that is not there.
    """

    missing = "not on disk"

    def __init__(self, place: str, root: Path | None = None) -> None:
        self.place = place
        self.root = root or Path(place)

    def check(self, option: str) -> None:
        """Refuses a place where nothing is.

        Raises:
            ValueError: with the option that gave it.
        """
        if not self.root.is_dir():
            raise ValueError(f"{option} is not a directory. Received: {self.place}.")

    def shown(self, path: Path) -> str:
        """A path as messages name it."""
        return str(path)

    def is_file(self, path: Path) -> bool:
        """Whether there is such a file."""
        try:
            return path.is_file()
        except OSError:  # The name is too long, say: the photograph is rejected like any other.
            return False

    def is_folder(self, path: Path) -> bool:
        """Whether there is such a folder."""
        return path.is_dir()

    def glob(self, pattern: str) -> list[Path]:
        """Returns what matches a pattern below the root, sorted."""
        return sorted(self.root.glob(pattern))

    def folders(self, parent: Path) -> list[Path]:
        """Returns the folders directly in another one, sorted."""
        return sorted(path for path in parent.iterdir() if path.is_dir())

    def names(self, folder: Path) -> Sequence[str]:
        """Returns the names of the files directly in a folder.

        Raises:
            OSError: if they cannot be listed.
        """
        _, _, names = next(os.walk(folder, onerror=walk.unlisted))
        return names

    def files(self, folder: Path) -> Iterable[Path]:
        """Yields every file below a folder, except in folders that systems leave behind.

        Raises:
            OSError: if a folder's files cannot be listed.
        """
        return walk.files(folder)

    def fetch(self, paths: Iterable[str], *, at_once: int = 16, unit: str = "photograph") -> None:
        """Brings files to this machine, those of them that there are.

        Args:
            paths: Where they will be.
            at_once: How many to fetch at once.
            unit: What one of them is, in messages.
        """
        # They are here, or nowhere.

    def require_kept(self, path: Path) -> None:
        """Refuses to call a file missing of which only the copy on this machine is.

        Raises:
            VanishedError: if so.
        """

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """While files are read: says of a copy that is gone that it was one.

        Raises:
            VanishedError: in place of the FileNotFoundError that it would be.
        """
        yield


def tree_of(place: str) -> Tree:
    """Returns what lies below a folder or a URL.

    Raises:
        BucketError: if it is a URL and cannot be listed.
        RuntimeError: if the client of its scheme is not installed.
    """
    if not urls.is_remote(place):
        return Tree(place)
    from data_prep.sources import bucket_tree  # Brings the client, which no folder needs.

    return bucket_tree.read(place)


def annotation_file(place: str) -> Path:
    """Returns where an annotation file is on this machine; one of a bucket is fetched.

    Raises:
        ValueError: if the bucket has none of this name.
        BucketError: if it cannot be read.
        RuntimeError: if the client of its scheme is not installed.
    """
    if not urls.is_remote(place):
        return Path(place)
    from data_prep.sources import bucket_tree

    return bucket_tree.fetch_file(place)
