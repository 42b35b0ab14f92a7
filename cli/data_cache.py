"""The options of the copies of shards, for each command that reads a dataset."""

import dataclasses
import math
from typing import Annotated

from buckets import copies
from cli.flags import LocalPath, Machine, Rule

_Folder = Annotated[LocalPath, Rule(bool, "must be a path, or be left out")]
_Gib = Annotated[float, Rule(lambda gib: 0 < gib < math.inf, "must be above 0")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataCache:
    """Where the shards of a dataset in a bucket are kept on this machine, each above its help."""

    data_cache: Machine[_Folder | None] = None
    """Of a --data_dir in a bucket: the folder for copies of its shards, which several runs and
    datasets may share. Unset: the platform's cache folder."""
    data_cache_gib: Machine[_Gib] = copies.SHARDS_GIB
    """How many GiB of copies stay there, and nine tenths of what the disk has room for at most; the
    least recently used go first."""
