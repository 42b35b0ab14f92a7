"""Where on this machine copies of remote things lie."""

import hashlib
import re
from pathlib import Path

import platformdirs

from buckets import urls

SHARDS_GIB = 100.0  # What copies of datasets' shards take at most, unless it is said.


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
