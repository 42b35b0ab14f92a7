"""What the workers of a run tell each other: that they start alike, and that one must stop."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from trainer.distribute.cluster import Cluster

# What a worker's collective operations end with once it is cut off from another one.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
    tf.errors.AbortedError,
)


T = TypeVar("T")


class Workers:
    """The workers of a run, as one of them sees them. Each method is called by all, or by none.

        import tensorflow as tf
        from trainer.distribute.workers import Workers

        workers = Workers(cluster=None, strategy=tf.distribute.get_strategy())  # A single one.
        mine = workers.own(["a", "b", "c"])
        at_most = workers.smallest(len(mine))
        if workers.is_chief:
            print("written once, by one for all:", at_most)
        workers.wait()

    Attributes:
        is_chief: Whether this one writes for all.
        are_several: Whether there are others.
    """

    def __init__(self, cluster: Cluster | None, strategy: tf.distribute.Strategy) -> None:
        self.is_chief = cluster is None or cluster.is_chief
        self._rank, self._count = (cluster.rank, len(cluster.addresses)) if cluster else (0, 1)
        self.are_several = cluster is not None
        self._strategy = strategy

        def add(flag: tf.Tensor) -> tf.Tensor:
            # What came from outside is on no device yet, and cannot be reduced.
            return tf.distribute.get_replica_context().all_reduce("SUM", tf.identity(flag))

        @tf.function
        def total(flag: tf.Tensor) -> tf.Tensor:
            return strategy.run(add, args=(flag,))

        self._total = total

    def any(self, flag: bool) -> bool:
        """Whether the flag of at least one worker is set."""
        if not self.are_several:
            return flag
        [total, *_] = self._strategy.experimental_local_results(
            self._total(tf.constant(flag * 1.0))
        )
        return float(total) > 0

    def smallest(self, number: int) -> int:
        """Returns the smallest of the numbers that they come with."""
        return int(self._gather([number]).min()) if self.are_several else number

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """Returns the items that fall to this worker: one of every so many as there are workers."""
        return items[self._rank :: self._count]

    def join(self, array: np.ndarray) -> np.ndarray:
        """Returns int64 [n], of which each has filled its part and left the others' at 0."""
        return self._gather(array).max(axis=0) if self.are_several else array

    def wait(self) -> None:
        """Returns once every worker has called it."""
        self.any(False)

    def check_alike(
        self,
        *,
        settings: Mapping[str, Any],
        state: Mapping[str, Any],
        weights: Callable[[], Iterable[np.ndarray]],
    ) -> None:
        """Refuses to start from states that differ, which nothing would show later.

        Args:
            settings: The run's identity, and whatever else must not differ.
            state: The train state that it goes on from, `step` among it.
            weights: Returns all arrays that the step starts from; not called for a single worker.

        Raises:
            ValueError: if the step, the weights or the settings differ; in all workers.
        """
        if not self.are_several:
            return
        mine = [state["step"], *_digest(settings), *_digest(state, *weights())]
        rows = self._gather(mine)
        for what, columns in (
            ("steps", rows[:, :1]),
            ("settings or data", rows[:, 1:3]),
            ("weights", rows[:, 3:]),
        ):
            if (columns != columns[0]).any():
                raise ValueError(
                    f"The workers start with different {what}. Received: replicas at steps "
                    f"{', '.join(map(str, rows[:, 0]))}. Give all of them the same flags, "
                    "--data_dir and --workdir, on a file system that they share."
                )

    def _gather(self, row: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the rows of all replicas, int64 [num_replicas, len(row)]."""
        rows = self._strategy.experimental_distribute_values_from_function(
            lambda _: tf.constant([row], tf.int64)
        )
        return self._strategy.gather(rows, axis=0).numpy()


@contextlib.contextmanager
def naming_lost_workers(cluster: Cluster | None) -> Iterator[None]:
    """Turns what TensorFlow says when a worker is lost into a line for a person.

    Raises:
        RuntimeError: if a worker is lost. A new one cannot join those that are left.
    """
    try:
        yield
    except _LOST as error:
        if cluster is None:
            raise
        raise RuntimeError(
            f"A worker was lost, so worker {cluster.rank} of {len(cluster.addresses)} cannot go "
            "on. Look at the others' output for why, and start the same command again on all: it "
            f"goes on from the last checkpoint. Received: {type(error).__name__}."
        ) from error


def _digest(described: Mapping[str, Any], *arrays: np.ndarray) -> list[int]:
    """Returns 128 bits of a sha256, as two int64."""
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for array in arrays:
        digest.update(array.tobytes())
    return np.frombuffer(digest.digest()[:16], np.int64).tolist()
