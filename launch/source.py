"""This project's source, which a machine is to install."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


_NAMED = 5  # Of the files that are not committed.


def commit() -> str:
    """Returns the commit that is checked out, as 40 hexadecimal digits.

    Raises:
        RuntimeError: if this is no clone.
    """
    done = _git("rev-parse", "HEAD")
    if done.returncode:
        raise RuntimeError(
            "The machine installs a commit of this project, so launch it from a clone. Received: "
            f"{ROOT}: {done.stderr.strip()}."
        )
    return done.stdout.strip()


def uncommitted() -> str | None:
    """Returns a line that names what a commit leaves behind; None if that is nothing."""
    listed = _git("status", "--porcelain", "--no-renames", "-z").stdout
    files = [entry[3:] for entry in listed.split("\0") if entry]
    if not files:
        return None
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return (
        f"{', '.join(files[:_NAMED])}{more} here differ from the commit {commit()[:12]}, which is "
        "what the machine installs. Commit them first if they matter."
    )


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )
