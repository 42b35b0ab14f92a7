"""Recipes: flagfiles that ship with a command, and that `--recipe=NAME` stands for."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

_FLAG = re.compile(r"--?recipe=(\w+)")


def expand(arguments: Sequence[str], folder: Path) -> list[str]:
    """Puts the flags of the recipe that is named before all others, so that those win.

    Args:
        arguments: A command's, without the name of the program; flagfiles are expanded.
        folder: Holds NAME.flags of each recipe. A name without a file is left for the flag itself
            to refuse.
    """
    words = list(arguments)
    flags = words[: words.index("--")] if "--" in words else words
    named = [match[1] for word in _joined(flags) if (match := _FLAG.fullmatch(word))]
    path = folder / f"{named[-1]}.flags" if named else None
    if path is None or not path.exists():
        return words
    lines = path.read_text(encoding="utf-8").splitlines()
    return [*(line for line in lines if line.startswith("--")), *words]


def _joined(flags: Sequence[str]) -> list[str]:
    """Writes `--recipe best` as `--recipe=best`."""
    return [
        f"{flag}={value}" if flag in ("--recipe", "-recipe") else flag
        for flag, value in itertools.zip_longest(flags, flags[1:])
    ]
