"""How many of the machine's cores this process may use."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")  # A container's own, version 2.


def allowed() -> int:
    """The cores that it may run on: what TensorFlow and other libraries count."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available(cgroup: Path = _CGROUP) -> int:
    """The same, or as many as its container has the time of, which may be fewer."""
    limit = cgroup / "cpu.max"
    quota, period = limit.read_text().split() if limit.exists() else ("max", "0")
    of_container = math.inf if quota == "max" else math.ceil(int(quota) / int(period))
    return int(min(allowed(), of_container))
