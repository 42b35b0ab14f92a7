"""The order of examples in shards and their number: pure, and decided by hashes alone."""

import hashlib
import itertools
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

MIN_SHARDS = 8  # So that a few readers and workers each find shards of their own.


def order_key(salt: str, key: str) -> bytes:
    """Returns a sort key: the order looks random and is the same on every machine."""
    return hashlib.sha256(f"{salt}/{key}".encode()).digest()


def choose_num_shards(num_examples: int, total_bytes: int, shard_mib: int) -> int:
    """Returns how many shards keep each near `shard_mib`; at least 8, if there are 8 examples."""
    by_size = -(-total_bytes // (shard_mib * 2**20))
    return max(1, min(num_examples, max(MIN_SHARDS, by_size)))


def deal(items: Sequence[T], num_shards: int) -> list[list[T]]:
    """Cuts the items into non-empty slices whose lengths differ by one at most.

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
