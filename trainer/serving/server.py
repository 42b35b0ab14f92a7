"""The process that serves: its socket, its signals, and how it ends."""

import contextlib
import errno
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

_BACKLOG = 2048
_IDLE_SECONDS = 30  # After which a connection that asks nothing is closed.
_WHY = {
    errno.EADDRINUSE: "another program listens there. Give another --port",
    errno.EADDRNOTAVAIL: "it is no address of this machine. Give another --host",
    errno.EACCES: "this user may not. Give a --port above 1023",
}


@contextlib.contextmanager
def bind(host: str, port: int) -> Iterator[socket.socket]:
    """Yields a socket of the address, which does not listen yet: nobody is to wait so long.

    Raises:
        RuntimeError: if it cannot be had.
    """
    with _explained(host, port):
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    with listening:
        with _explained(host, port):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        yield listening


def run(app: FastAPI, listening: socket.socket, workdir: str) -> None:
    """Listens, and answers until a signal ends it: what was accepted by then is still answered.

    Args:
        app: What answers.
        listening: As `bind` yields it.
        workdir: Whose model it is.

    Raises:
        RuntimeError: if another process listens there by now, or if a second Ctrl-C cut it short.
    """
    host, port = listening.getsockname()[:2]
    config = uvicorn.Config(
        app, log_config=None, log_level="warning", access_log=False, server_header=False,
        lifespan="off", ws="none", backlog=_BACKLOG, timeout_keep_alive=_IDLE_SECONDS,
    )  # fmt: skip
    with _explained(host, port):
        listening.listen(_BACKLOG)
    shown = f"[{host}]" if ":" in host else host
    print(f"Serving {workdir} at http://{shown}:{port}/ until Ctrl-C.", flush=True)
    server = _Server(config)
    server.run([listening])
    if server.force_exit:
        raise RuntimeError("Stopped by a second Ctrl-C: requests that waited were not answered.")


class _Server(uvicorn.Server):
    """Takes all signals that stop a command for the same order, and ends as a command does."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Heeds signals while entered; uvicorn's own would raise them once more at its end."""
        heeded = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # As nohup has it.
            heeded.append(signal.SIGHUP)
        before = {number: signal.signal(number, self.handle_exit) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _explained(host: str, port: int) -> Iterator[None]:
    """Says what is wrong with an address, and what to do."""
    try:
        yield
    except socket.gaierror as error:
        raise RuntimeError(
            f"The host is not known: {error.strerror}. Received: host={host}. Give another --host."
        ) from error
    except OSError as error:
        why = _WHY.get(error.errno or 0, os.strerror(error.errno or 0))
        raise RuntimeError(
            f"Nothing can listen at this address: {why}. Received: host={host}, port={port}."
        ) from error
