"""Which example goes into which shard, in which order: pure, and decided by hashes alone."""

import hashlib
import itertools
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

MIN_SHARDS = 8  # So that a few readers and workers each find shards of their own.


def order_key(salt: str, key: str) -> bytes:
    """A place in an order that is random to the eye and the same on every machine."""
    return hashlib.sha256(f"{salt}/{key}".encode()).digest()


def choose_num_shards(num_examples: int, total_bytes: int, shard_mib: int) -> int:
    """As many shards as keep each near `shard_mib`; at least 8 where there are 8 examples."""
    by_size = -(-total_bytes // (shard_mib * 2**20))
    return max(1, min(num_examples, max(MIN_SHARDS, by_size)))


def deal(items: Sequence[T], num_shards: int) -> list[list[T]]:
    """Cuts the items into runs whose lengths differ by one at most; every run holds one or more.

    Raises:
        ValueError: if there are fewer items than shards.
    """
    if not 1 <= num_shards <= len(items):
        raise ValueError(
            "num_shards must be between 1 and the number of examples of the split. Received: "
            f"num_shards={num_shards}, examples={len(items)}."
        )
    ends = [len(items) * i // num_shards for i in range(num_shards + 1)]
    return [list(items[start:end]) for start, end in itertools.pairwise(ends)]
