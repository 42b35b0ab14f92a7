"""Maps `build_shard` over the tasks: in this process, or in a pool of processes."""

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

from data_prep.shards import ShardResult, ShardTask, build_shard


def default_num_workers() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(tasks: Sequence[ShardTask], num_workers: int) -> Iterator[ShardResult]:
    """Yields results as they come; their order means nothing, since each names its shard."""
    if num_workers == 1 or len(tasks) == 1:
        yield from map(build_shard, tasks)
        return
    # Spawned workers import this module and what it needs, and never TensorFlow; forked ones would
    # inherit the threads' locks of whatever the parent has loaded.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        min(num_workers, len(tasks)), context, initializer=_follow_parent
    ) as pool:
        futures = [pool.submit(build_shard, task) for task in tasks]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"A worker process was killed. Received: num_workers={num_workers}. If memory was "
                "short, take fewer. Start the same command again: finished shards are kept."
            ) from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)  # Shards under way end; no more start.
            raise


def _follow_parent() -> None:
    """Lets a worker end when the parent says so, or with it where it is killed."""
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker left alone would wait for work for ever, and write beside the next build's."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
