"""Finds every file below a folder, also behind links, each folder once."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tfrecords import junk


def unlisted(error: OSError) -> None:
    """What to do about a folder whose files cannot be listed: raises the error."""
    raise error


def files(folder: Path, failed: Callable[[OSError], None] = unlisted) -> Iterator[Path]:
    """Yields every file below a folder, except in folders that operating systems leave behind.

    Links to folders are followed, each folder once, unless a link leads back up to where it stands.
    A broken link or a pipe is yielded too: opening it will say what is wrong.

    Args:
        folder: Where to begin.
        failed: Called where a folder's files cannot be listed; unset: that is raised.

    Raises:
        OSError: if a folder's files cannot be listed.
    """
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        links = []
        for top in sorted(waiting):
            for parent, folders, names in os.walk(top, onerror=failed):
                is_new = (real := os.path.realpath(parent)) not in seen
                seen.add(real)
                folders[:] = [f for f in folders if is_new and not junk.is_folder_of_none(Path(f))]
                links += [path for f in folders if (path := Path(parent, f)).is_symlink()]
                yield from (Path(parent, name) for name in names if is_new)
        waiting = [link for link in links if not _leads_up(link, folder)]


def _leads_up(link: Path, folder: Path) -> bool:
    """Whether a link leads to a folder that its own folder is in."""
    return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(link))
