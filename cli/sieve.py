"""Passes on what another program prints, less the lines that match: `python sieve.py PATTERN`.

A process of its own, so that what comes last is shown however the other one ends. `cli.startup`
starts it; it ends with its input.
"""

import contextlib
import os
import re
import sys


def main(pattern: str) -> None:
    """Reads standard input to its end; the rest goes to standard error."""
    dropped = re.compile(pattern.encode())
    line = b""
    while chunk := os.read(0, 2**16):
        *lines, line = (line + chunk).split(b"\n")
        write(b"".join(each + b"\n" for each in lines if not dropped.match(each)))
    if not dropped.match(line):
        write(line)


def write(content: bytes) -> None:
    """Writes all of it, or drops it where nobody reads or a disk is full."""
    with contextlib.suppress(OSError):
        while content:
            content = content[os.write(2, content) :]


if __name__ == "__main__":
    main(sys.argv[1])
