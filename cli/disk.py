"""Room on the disk: asked for before a long run starts, not found missing in its midst."""

import shutil

from etils import epath


def require_room(folder: epath.PathLike, needed: int) -> None:
    """Refuses a disk that is too small, where the folder is on one.

    Args:
        folder: That is to be written into; it need not exist yet.
        needed: Bytes.

    Raises:
        ValueError: if less is free than is needed.
    """
    if "://" in str(folder):
        return
    folder = epath.Path(folder)
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
