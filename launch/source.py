"""This project's source, which a machine is to install."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commit() -> str:
    """Returns the commit that is checked out, as 40 hexadecimal digits.

    Raises:
        RuntimeError: if this is no clone.
    """
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(
            "The machine installs a commit of this project, so launch it from a clone. Received: "
            f"{ROOT}: {done.stderr.strip()}."
        )
    return done.stdout.strip()
