"""Slurm's short form of host names, `n[1-3,07],login`, written out. Standard library only.

`scontrol show hostnames` does the same, but containers on Slurm clusters often lack it, and the
Python package python-hostlist is under the GPL.
"""

import itertools
import re

_HOST = re.compile(r"(?:[^\[\],\s]|\[[^\[\]\s]*\])+")  # Commas inside brackets do not end a host.
_BRACKETS = re.compile(r"\[([^\]]*)\]")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def expand_hostlist(hostlist: str) -> list[str]:
    """Returns the host names in Slurm's order, which is the order of its tasks.

    `a[01-03,7],b2` is a01, a02, a03, a7, b2; of several brackets in a name the last moves fastest.

    Raises:
        ValueError: if the list is none.
    """
    hosts = _HOST.findall(hostlist)
    if not hosts or ",".join(hosts) != hostlist:
        raise _not_a_list(hostlist)
    return [name for host in hosts for name in _expand_host(host, hostlist)]


def _expand_host(host: str, hostlist: str) -> list[str]:
    texts = _BRACKETS.split(host)  # Text, what is in brackets, text, ...
    choices = [
        _expand_ranges(text, hostlist) if index % 2 else [text] for index, text in enumerate(texts)
    ]
    return ["".join(parts) for parts in itertools.product(*choices)]


def _expand_ranges(ranges: str, hostlist: str) -> list[str]:
    numbers = []
    for text in ranges.split(","):
        match = _RANGE.fullmatch(text)
        if match is None:
            raise _not_a_list(hostlist)
        first, last = match[1], match[2] or match[1]
        if int(first) > int(last):
            raise _not_a_list(hostlist)
        # Leading zeros stay: 01 to 03, not 1 to 3.
        numbers += [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    return numbers


def _not_a_list(hostlist: str) -> ValueError:
    return ValueError(
        f"A list of hosts looks like `n[1-12],login`. Received: {hostlist!r}. "
        "Look at what `scontrol show hostnames` says of it."
    )
