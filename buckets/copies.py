"""Where on this machine copies of remote things lie."""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from buckets import urls

SHARDS_GIB = 100.0  # What copies of datasets' shards take at most, unless it is said.


class VanishedError(RuntimeError):
    """A copy is gone that was in use: one line for a person."""


def vanished(path: Path, url: str) -> VanishedError:
    """Returns what to say of a copy that is gone, and of what it was one."""
    return VanishedError(
        "A copy of what lies in a bucket vanished from this machine while it was in use. "
        f"Received: {path}, from {url}. Nothing in the bucket was changed: start the same command "
        "again, which fetches it anew."
    )


def cache_folder() -> Path:
    """The platform's cache folder of this project; `XDG_CACHE_HOME` moves it on Linux."""
    return Path(platformdirs.user_cache_dir("coco-animals", appauthor=False))


def copy_of(url: str, kind: str, base: Path | None = None) -> Path:
    """Returns the folder that is a URL's alone: `BASE/runs/my-run-1a2b3c4d`, say.

    Args:
        kind: What it is a copy of, as `runs`.
        base: What all copies lie in; None: the platform's cache folder.
    """
    url = urls.normalise(url)
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", url.rpartition("/")[2])[:40].strip(".-")
    return (base or cache_folder()) / kind / f"{name or 'root'}-{digest}"


def require(folder: Path, option: str | None = None) -> None:
    """Makes a folder for copies, before work is begun that would be lost without it.

    Args:
        option: What named it, as `data_cache=/scratch`; None: it is the platform's.

    Raises:
        ValueError: if it cannot be made, or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        moved = os.environ.get("XDG_CACHE_HOME")
        given = option or (f"XDG_CACHE_HOME={moved}" if moved else f"the cache folder {folder}")
        other = f"--{option.partition('=')[0]}" if option else "folder in XDG_CACHE_HOME"
        raise ValueError(
            "Copies of what lies in a bucket need a folder that can be written. Received: "
            f"{given} ({os.strerror(error.errno or 0)}: {error.filename}). Name another {other}."
        ) from error


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Names the file in what goes wrong with it: the error of a write, of a full disk, does not.

    One that is missing may be an object, of which this would not be said.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno and not error.filename:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
