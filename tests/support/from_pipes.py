"""A shard whose photographs may be pipes: a test holds its worker up for as long as it likes."""

from data_prep import shards
from data_prep.shards import ShardResult, ShardTask
from tfrecords import originals


def build_shard(task: ShardTask) -> ShardResult:
    """Like the real one, which refuses pipes since nobody knows when they end."""
    originals._check = lambda path: None
    return shards.build_shard(task)
