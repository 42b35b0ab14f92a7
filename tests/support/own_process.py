"""A server in a process of its own, which tells in one line of JSON where it is.

It ends as its standard input does: with the block that started it, or with a starter that was
killed.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).parents[2]


@contextlib.contextmanager
def started(module: str, *arguments: str) -> Iterator[Any]:
    """Runs `python -m module arguments` as long as the block does; yields what it told."""
    server = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True,
        start_new_session=True,  # Ctrl-C ends the tests first.
    )  # fmt: skip
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        if not line:
            raise RuntimeError(f"{module} did not start; its error is above.")
        yield json.loads(line)
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()


def tell_and_wait(whereabouts: Any) -> NoReturn:
    """What such a server does once it listens: tells of it, then waits for its end."""
    print(json.dumps(whereabouts), flush=True)
    sys.stdin.read()
    os._exit(0)  # No thread of a server is waited for.
