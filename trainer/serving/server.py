"""The process that serves: its socket, its signals, and how it ends."""

import contextlib
import errno
import logging
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


def check_address(host: str, port: int) -> None:
    """Says at once what would be wrong with an address, before the seconds of loading.

    Raises:
        RuntimeError: if nothing can listen there.
    """
    _listen(host, port).close()


def run(app: FastAPI, host: str, port: int, workdir: str) -> None:
    """Listens, and answers until a signal ends it: what was accepted by then is still answered.

    Args:
        app: What answers.
        host: A name or an address of this machine.
        port: 0: any that is free.
        workdir: Whose model it is.

    Raises:
        RuntimeError: if nothing can listen there, or if a second Ctrl-C cut it short.
    """
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # It warns of each bad form.
    config = uvicorn.Config(
        app, log_config=None, log_level="warning", access_log=False, server_header=False,
        lifespan="off", ws="none", backlog=_BACKLOG, timeout_keep_alive=_IDLE_SECONDS,
    )  # fmt: skip
    server = _Server(config)
    with _listen(host, port) as listening:
        address, port = listening.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        print(f"Serving {workdir} at http://{shown}:{port}/ until Ctrl-C.", flush=True)
        server.run([listening])
    if server.force_exit:
        raise RuntimeError("Stopped by a second Ctrl-C: requests that waited were not answered.")


def _listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens, so that whoever connects from now on will be served."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        raise RuntimeError(
            f"The host is not known: {error.strerror}. Received: host={host}. Give another --host."
        ) from error
    except OSError as error:
        why = _WHY.get(error.errno or 0, os.strerror(error.errno or 0))
        raise RuntimeError(
            f"Nothing can listen at this address: {why}. Received: host={host}, port={port}."
        ) from error


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
