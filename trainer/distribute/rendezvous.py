"""Where workers meet before TensorFlow has them wait for each other.

TensorFlow's wait is silent, has no end, and hears no signal. So all come to the chief first, over
plain TCP at the address that its server takes next, and go on once everyone is there. Who has not
come is named once a minute.
"""

import contextlib
import hashlib
import selectors
import socket
import time
from collections.abc import Iterable

from absl import logging

from trainer.distribute.cluster import Cluster

_PERIOD_SECONDS = 60.0
_CONNECT_SECONDS = 5.0  # A host that drops what it does not want never refuses.
_RETRY_SECONDS = 0.5
_GO = b"go"
_NAMED = 8  # A line names so many.


def meet(cluster: Cluster, timeout_s: float, period_s: float = _PERIOD_SECONDS) -> None:
    """Returns once all workers are there.

    Args:
        cluster: The workers.
        timeout_s: Seconds to wait.
        period_s: Seconds between two lines on who is missing. The chief says it of all; another
            worker speaks only where it does not reach the chief.

    Raises:
        RuntimeError: if somebody is missing when the time is over; says who.
    """
    patience = _Patience(cluster, timeout_s, period_s)
    if cluster.is_chief:
        _await_all(cluster, patience)
    else:
        while not _ask_chief(cluster, patience):
            time.sleep(_RETRY_SECONDS)


class _Patience:
    """Says now and then for whom a worker waits, until its time is over."""

    def __init__(self, cluster: Cluster, timeout_s: float, period_s: float) -> None:
        self._cluster = cluster
        self._timeout = timeout_s
        self._period = period_s
        self._start = self._spoke = time.monotonic()

    def say(self, missing: str) -> None:
        """Names who is missing, if a period is over; ends as `check` does."""
        self.check(missing)
        now = time.monotonic()
        if now - self._spoke >= self._period:
            self._spoke = now
            logging.warning(
                "Worker %d has waited for %.0f s: no word from %s.",
                self._cluster.rank, now - self._start, missing,
            )  # fmt: skip

    def check(self, missing: str) -> None:
        """Ends the wait.

        Raises:
            RuntimeError: if its time is over.
        """
        if time.monotonic() - self._start >= self._timeout:
            raise RuntimeError(
                f"Not all of {len(self._cluster.addresses)} workers came within {self._timeout:g} "
                f"s. Received by worker {self._cluster.rank}: no word from {missing}. Start the "
                "same command on all of them, see why they ended or do not reach each other, or "
                "raise --rendezvous_timeout_s."
            )


def _await_all(cluster: Cluster, patience: _Patience) -> None:
    """The chief's part: hears who comes and who goes, and sends all on together."""
    ranks = {_greeting(cluster, rank): rank for rank in range(1, len(cluster.addresses))}
    here: dict[socket.socket, int] = {}
    with (
        _listen(cluster) as server,
        contextlib.ExitStack() as visitors,
        selectors.DefaultSelector() as selector,
    ):
        selector.register(server, selectors.EVENT_READ, server)
        while missing := set(ranks.values()).difference(here.values()):
            patience.say(_names(cluster, sorted(missing)))
            for key, _ in selector.select(_RETRY_SECONDS):
                if key.data is server:
                    visitor, _ = server.accept()
                    visitors.enter_context(visitor)
                    selector.register(visitor, selectors.EVENT_READ, visitor)
                elif (greeting := _receive(key.data)) in ranks:
                    here[key.data] = ranks[greeting]
                else:  # A worker that ended, or nobody of this run.
                    here.pop(key.data, None)
                    selector.unregister(key.data)
                    key.data.close()
        for worker in here:
            with contextlib.suppress(OSError):  # It ended this moment, which TensorFlow finds.
                worker.sendall(_GO)


def _ask_chief(cluster: Cluster, patience: _Patience) -> bool:
    """Another worker's part: greets the chief, and waits; returns whether it said to go on."""
    address = cluster.addresses[0]
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS) as chief:
            chief.sendall(_greeting(cluster, cluster.rank))
            chief.settimeout(_RETRY_SECONDS)
            while True:
                with contextlib.suppress(TimeoutError):
                    if chief.recv(len(_GO)) == _GO:
                        return True
                    raise OSError("it ended, or is the chief of another run")
                patience.check(f"worker 0 ({address}) that all are there")
    except OSError as error:  # Also a name that nobody knows yet.
        patience.say(f"worker 0 ({address}: {error.strerror or error})")
    return False


def _listen(cluster: Cluster) -> socket.socket:
    """Listens where TensorFlow's server will, on every interface as it does."""
    port = int(cluster.addresses[0].rpartition(":")[2])
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # The kernel may know of IPv6 and have none.
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _receive(visitor: socket.socket) -> bytes:
    """Returns what has come; nothing where the other side is gone."""
    try:
        return visitor.recv(hashlib.sha256().digest_size)
    except OSError:
        return b""


def _greeting(cluster: Cluster, rank: int) -> bytes:
    """What a worker of this run says, and nobody of another run that has its port."""
    return hashlib.sha256(f"{rank} of {','.join(cluster.addresses)}".encode()).digest()


def _names(cluster: Cluster, ranks: Iterable[int]) -> str:
    names = [f"worker {rank} ({cluster.addresses[rank]})" for rank in ranks]
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more])
