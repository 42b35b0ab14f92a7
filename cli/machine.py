"""What this process may take of the machine: cores, memory and disk."""

import math
import os
import shutil
from pathlib import Path

from buckets import urls

_CGROUP = Path("/sys/fs/cgroup")  # A container's own, version 2.


def allowed_cores() -> int:
    """The cores that it may run on: what TensorFlow and other libraries count."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores(cgroup: Path = _CGROUP) -> int:
    """The cores that it may run on, or fewer where its container's CPU quota is smaller."""
    limit = cgroup / "cpu.max"
    quota, period = limit.read_text().split() if limit.exists() else ("max", "0")
    container_cores = math.inf if quota == "max" else math.ceil(int(quota) / int(period))
    return int(min(allowed_cores(), container_cores))


def free_memory(cgroup: Path = _CGROUP) -> int:
    """Bytes that it may still take of the host's memory, or of its container's."""
    import psutil  # Not for commands that only ask for cores.

    host_free = psutil.virtual_memory().available
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if not limit.exists() or limit.read_text().strip() == "max":
        return host_free
    return min(host_free, int(limit.read_text()) - int(used.read_text()))


def require_disk(folder: str | os.PathLike[str], needed: int) -> None:
    """Refuses a disk that is too small, before a long run starts, where the folder is on one.

    Args:
        folder: Where the files will go; it need not exist yet.
        needed: Bytes.

    Raises:
        ValueError: if less is free than is needed.
    """
    if urls.is_remote(str(folder)):
        return
    folder = Path(folder)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise ValueError(
            f"The disk has no room. Received: {folder}, with {readable(free)} free; needed: "
            f"{readable(needed)}. Make room, or name another folder."
        )


def readable(size: float) -> str:
    """A number of bytes for a person, such as `80 MiB`."""
    return f"{size / 2**20:,.0f} MiB" if size < 2**30 else f"{size / 2**30:,.1f} GiB"
