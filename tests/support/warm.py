"""Commands that start with TensorFlow and Keras imported: in a tenth of a second, instead of five.

`up([python, *words])` returns the command line that does from warm what `python *words` does. One
server for each process of pytest imports both, which starts no thread and computes nothing; each
command is a fork of it that imports the project's own modules anew. What is started is a relay: it
has the command's streams, folder and variables, passes signals on and ends as the command does.

Forks share what a process draws at its start, such as the seed of the hashes of strings. So tests
of how a process starts, and some runs of each kind, stay cold.
"""

import atexit
import contextlib
import faulthandler
import functools
import gc
import importlib
import json
import os
import runpy
import secrets
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

# How a command line is to be started: warm or cold.
Start = Callable[[Sequence[str]], list[str]]
REPOSITORY = Path(__file__).parents[2]
RELAY = Path(__file__).with_name("relay.py")
# Neither NumPy nor Arrow is to start threads: only a process of one thread may fork.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
# What runs import besides, at their start or when they first need it.
_IMPORTED_LATE = (
    "google_crc32c", "jinja2", "matplotlib.backends.backend_svg",
    "matplotlib.figure", "msgspec", "PIL.BmpImagePlugin", "PIL.GifImagePlugin", "PIL.ImageOps",
    "PIL.JpegImagePlugin", "PIL.PpmImagePlugin", "scipy.special", "sklearn.metrics",
    "tensorboard.summary.v2", "tqdm",
)  # fmt: skip


def up(command: Sequence[str]) -> list[str]:
    """Returns the command line that runs this one of Python from warm."""
    executable, *words = command
    assert executable == sys.executable
    name, _ = _server()
    return [executable, "-S", "-E", str(RELAY), name, *words]


def cold(command: Sequence[str]) -> list[str]:
    """Returns the command line as it is, for where the start of a process matters."""
    return list(command)


@functools.cache
def _server() -> tuple[str, subprocess.Popen[bytes]]:
    """Starts this process's server, which ends with it; returns its socket's name too."""
    name = f"animals-{os.getpid()}-{secrets.token_hex(4)}"
    variables = {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2", **_ONE_THREAD}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.warm", name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **variables},
    )  # fmt: skip
    assert server.stdin is not None
    assert server.stdout is not None
    if server.stdout.readline() != b"warm\n":
        raise RuntimeError("The server of warm processes did not start; its error is above.")
    atexit.register(server.wait)
    atexit.register(server.stdin.close)  # Which is called first.
    return name, server


def serve(name: str) -> NoReturn:
    """Imports TensorFlow, then forks for each relay that comes, until standard input ends."""
    import_heavy()
    gc.freeze()  # Else each fork copies what was imported, and searches it for garbage at its end.
    if len(threads := list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError(f"Only a process of one thread may fork. Received: {len(threads)}.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(f"\0{name}")
        listening.listen()
        print("warm", flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            relay, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _watch(relay)
            relay.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    os._exit(0)  # There is nothing to tidy up, which takes TensorFlow a second.


def import_heavy() -> None:
    """Imports what all runs of the trainer do and none of the project's own."""
    import trainer  # noqa: F401  # Before TensorFlow, which it tells how to compute.

    os.environ["KERAS_HOME"] = os.devnull  # A user's settings of Keras are not taken.
    import keras  # noqa: F401

    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("cli", "trainer")]:
        del sys.modules[name]


def _watch(relay: socket.socket) -> NoReturn:
    """Forks the command, tells the relay how it fares, and kills it once the relay is gone."""
    message, descriptors, _, _ = socket.recv_fds(relay, 1 << 20, 3)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    command = os.fork()
    if command == 0:
        relay.close()
        become(descriptors, **json.loads(message))
    for descriptor in descriptors:
        os.close(descriptor)

    def report(*_: Any) -> None:
        _, status = os.waitpid(command, os.WUNTRACED)
        relay.sendall(status.to_bytes(4, "little"))
        if not os.WIFSTOPPED(status):
            os._exit(0)

    signal.signal(signal.SIGCHLD, report)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    while number := relay.recv(1):
        os.kill(command, number[0])
    os.kill(command, signal.SIGKILL)
    os._exit(0)


def become(
    descriptors: Sequence[int], words: list[str], folder: str, variables: dict[str, str]
) -> NoReturn:
    """Does what Python does with these words, streams and variables, to the end."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    for stream, descriptor in enumerate(descriptors):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    faulthandler.enable()  # Of a crash nothing else is left, and the next one may be far off.
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    np.random.seed()
    how, *rest = words
    if how == "-m":
        module, *arguments = rest
        sys.path[0], sys.argv = folder, [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    elif how == "-c":
        code, *arguments = rest
        sys.path[0], sys.argv = "", ["-c", *arguments]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path[0], sys.argv = str(Path(how).parent), words
        runpy.run_path(how, run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    serve(sys.argv[1])
