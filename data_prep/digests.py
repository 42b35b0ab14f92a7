"""Reads each photograph's bytes once, before anything is planned: digest, stamp, decoder."""

import concurrent.futures
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from buckets import urls
from data_prep.examples.labels import Candidate
from data_prep.shards import Stamp, stamp_of
from data_prep.sources.photographs import Rejection
from data_prep.sources.trees import Tree
from tfrecords import heif, originals
from tfrecords.unusable import UnusableImageError

_IS_URL = "its file_name is a URL: it must be a name below --images_dir or --coco_dir"
_NUM_READERS = 4  # Threads: enough to hide the waits of a disk; more wait for the GIL instead.


class Digest(NamedTuple):
    """What identifies a photograph.

    Attributes:
        content: Hex sha256 of its bytes.
        stamp: Size and time of change of its file when it was read.
        decoder: What decodes it, as `heif.extra_decoder` returns it.
    """

    content: str
    stamp: Stamp
    decoder: str


class Digests(NamedTuple):
    """What reading the photographs of a build found.

    Attributes:
        of_path: {path: digest}.
        unread: A rejection for each photograph that is missing, cannot be read, or has a name that
            no dataset can hold.
    """

    of_path: Mapping[str, Digest]
    unread: list[Rejection]


def digest_photographs(candidates: Sequence[Candidate], tree: Tree) -> Digests:
    """Reads each photograph once.

    Args:
        candidates: What may become examples.
        tree: What their photographs lie in.

    Raises:
        VanishedError: if a copy of what lies in a bucket is gone.
        OSError: if no file at all can be opened.
    """
    nameless = [c.photograph.path for c in candidates if not originals.is_text(c.photograph.name)]
    file_of = {c.photograph.path: c.photograph.file for c in candidates}
    paths = list(file_of)
    # A part for each thread: handing out one photograph at a time costs as much as hashing it.
    parts = [paths[first::_NUM_READERS] for first in range(_NUM_READERS)]
    with concurrent.futures.ThreadPoolExecutor(_NUM_READERS) as pool:  # Hashing lets go of the GIL.
        found_by = list(pool.map(lambda part: [(p, _look_up(p, tree)) for p in part], parts))
    found_of = dict(itertools.chain.from_iterable(found_by))
    found_of |= dict.fromkeys(nameless, "its name is not UTF-8: rename it")
    # Some are there all the same: fetched from where --download has them, say.
    found_of |= {
        path: _IS_URL
        for path, file in file_of.items()
        if isinstance(found_of[path], str) and urls.is_remote(file)
    }
    digests = {path: found for path, found in found_of.items() if isinstance(found, Digest)}
    reasons = {path: found for path, found in found_of.items() if isinstance(found, str)}
    return Digests(digests, [Rejection(file_of[path], reason) for path, reason in reasons.items()])


def _look_up(path: str, tree: Tree) -> Digest | str:
    """Returns the digest, or why there is none."""
    try:
        return _digest(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        tree.require_kept(Path(path))
        return tree.missing
    except UnusableImageError as error:
        return str(error)


def _digest(path: str) -> Digest:
    with originals.open_original(path) as file:
        stamp = stamp_of(file)  # First, so that a change while reading shows.
        photograph = file.read()
    content = hashlib.sha256(photograph).hexdigest()
    return Digest(content, stamp, heif.extra_decoder(photograph))
