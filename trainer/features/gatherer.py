"""The gatherer of features: copies the rows of a batch out of their shards, at memory's speed.

A batch of features is as large as 100 MB, and more than half of what it cost was not the copying:
the system clears each page of a new array, and TensorFlow copies an array once more that does not
begin at a multiple of 64 bytes, while no other thread of Python may run. So batches are gathered
into pages that are used again once TensorFlow has let go of them, which begin where it wants them.
"""

import bisect
import concurrent.futures
import itertools
import mmap
import weakref
from collections.abc import Sequence

import numpy as np

from cli import machine
from tfrecords import framing

# Copying is bound by memory, which no more threads than that make faster.
_MOST_THREADS = 8
_WORTH_A_THREAD = 2**20  # Bytes.


class Pages:
    """Memory for batches, used again once TensorFlow has let go of them.

    Nothing but what is too small is given back before the end: there is room for as many batches as
    were ever in use at the same time. Several threads may ask for room at once.
    """

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def rows(self, count: int, size: int) -> np.ndarray:
        """Returns room for so many rows, uint8 [count, size]; what is in them is left as it is.

        Its base is no array, so that whatever NumPy makes of it refers to it, not past it.
        """
        pages = self._take()
        if pages is None or len(pages) < count * size:
            pages = mmap.mmap(-1, count * size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        rows: np.ndarray = np.ndarray([count, size], np.uint8, pages)
        weakref.finalize(rows, self._free.append, pages).atexit = False
        return rows

    def _take(self) -> mmap.mmap | None:
        try:
            return self._free.pop()
        except IndexError:  # Not looked up before: another thread may take the last one.
            return None


class Gatherer:
    """Gathers features of examples, in their order; several threads may call it at once.

    Args:
        records: The framed records of each shard, uint8 [num_examples, frame_bytes].
        row_bytes: The size of one view's feature; a record holds all views, one after the other.
        pages: Where batches go.
        threads: That copy the rows of a batch side by side; None: as many as help.
    """

    def __init__(
        self,
        records: Sequence[np.ndarray],
        row_bytes: int,
        pages: Pages,
        threads: int | None = None,
    ) -> None:
        self._shards = [shard.view(np.ndarray) for shard in records]  # Of a memmap, slices cost.
        self._ends = list(itertools.accumulate(map(len, records)))
        self._row_bytes = row_bytes
        self._threads = threads or min(machine.cores(), _MOST_THREADS)
        self._pool = concurrent.futures.ThreadPoolExecutor(self._threads)
        self._pages = pages

    def gather(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Returns the features of examples, [n], in views, [n], as uint8 [n, row_bytes]."""
        rows = self._pages.rows(len(indices), self._row_bytes)
        parts = max(1, min(self._threads, rows.nbytes // _WORTH_A_THREAD))
        cuts = [len(rows) * part // parts for part in range(parts + 1)]
        shares = [
            (rows[first:end], indices[first:end].tolist(), views[first:end].tolist())
            for first, end in itertools.pairwise(cuts)
        ]
        # The caller's own thread takes one of them.
        others = [self._pool.submit(self._copy, *share) for share in shares[1:]]
        self._copy(*shares[0])
        for other in others:
            other.result()
        return rows

    def _copy(self, rows: np.ndarray, indices: Sequence[int], views: Sequence[int]) -> None:
        for out, index, view in zip(rows, indices, views, strict=True):
            shard = bisect.bisect_right(self._ends, index)
            start = framing.HEADER_BYTES + view * self._row_bytes
            record = self._shards[shard][index - self._ends[shard]]  # Counted from its end.
            out[:] = record[start : start + self._row_bytes]
