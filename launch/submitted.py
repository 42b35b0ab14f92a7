"""A job that was submitted: its backend's own commands for afterwards, kept beside its files."""

import dataclasses
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cli import flags
from cli.command import FlagsError
from cli.flags import LocalPath
from launch.config import Name

RECORD = "job.json"
_VERBS = ("logs", "status", "stop")
Commands = tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WhichConfig:
    """Options of `launch.logs`, `launch.status` and `launch.stop`, each above its help.

    Raises:
        ValueError: if they name no job.
    """

    name: Name | None = None
    """Of the job, as launch.run printed it."""
    job_dir: LocalPath | None = None
    """Folder with the job's files, as --write_to of launch.run named it; unset: jobs/NAME."""
    dry_run: bool = False
    """Print the backend's commands, and run none."""

    def __post_init__(self) -> None:
        flags.check(self)
        if not self.name and not self.job_dir:
            raise ValueError(
                "--name says which job, or --job_dir where its files are. Received neither. "
                f"Here are: {_names_here()}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Submitted:
    """What there is to do with a job once it is submitted.

    Attributes:
        name: Of the job.
        backend: Where it runs.
        writes: The run or the dataset that it makes; two jobs of one name make the same.
        logs: Commands that show what it has said; `*` in the name of a file at the end stands
            for those that are there by then.
        status: Commands that say how far it is.
        stop: Commands that end it, with a checkpoint.
    """

    name: str
    backend: str
    writes: str
    logs: Commands
    status: Commands
    stop: Commands

    def to_json(self) -> str:
        """Returns it as `read` takes it."""
        kept: dict[str, str | list[str]] = {
            "name": self.name, "backend": self.backend, "writes": self.writes,
        }  # fmt: skip
        kept |= {verb: [*map(shlex.join, getattr(self, verb))] for verb in _VERBS}
        return json.dumps(kept, indent=2) + "\n"


def folder_of(name: str) -> Path:
    """Where the files of a job are, unless it was told otherwise."""
    return Path("jobs", name).absolute()


def read(config: WhichConfig) -> Submitted:
    """Returns the job that the flags name.

    Raises:
        FlagsError: if no job of that name was submitted here.
        RuntimeError: if what was kept of it cannot be read.
    """
    path = Path(config.job_dir or folder_of(str(config.name))) / RECORD
    try:
        kept = json.loads(path.read_text())
        commands = {
            verb: tuple(tuple(shlex.split(command)) for command in kept[verb]) for verb in _VERBS
        }
        job = Submitted(
            name=str(kept["name"]), backend=str(kept["backend"]), writes=str(kept["writes"]),
            **commands,
        )  # fmt: skip
    except (FileNotFoundError, NotADirectoryError):
        raise FlagsError(
            f"launch.run leaves {RECORD} with the files of a job that it submits. Received: "
            f"{path}, which is not there. Start this in the folder of the launch, or name the "
            f"files' folder with --job_dir. Here are: {_names_here()}."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RuntimeError(
            f"{path} is not what launch.run wrote ({type(error).__name__}: {error}). "
            "`launch.run --dry_run --write_to=DIR` with the job's flags writes it again."
        ) from error
    if config.name and job.name != config.name:
        raise FlagsError(
            f"The files are another job's. Received: --name={config.name}, and {path} of "
            f"{job.name}. Leave one of --name and --job_dir out."
        )
    return job


def run(commands: Commands, *, dry_run: bool) -> None:
    """Runs the backend's commands, each printed before, to the last one.

    Raises:
        RuntimeError: if one fails, or its program is not installed.
    """
    failed = None
    for command in commands:
        words = _filled_in(command)
        if dry_run:
            print(shlex.join(words or command))
            continue
        if not words:
            raise RuntimeError(
                f"The job has said nothing yet. Received: {command[-1]}, of which there is no "
                "file. `python -m launch.status` says whether it runs."
            )
        print(f"+ {shlex.join(words)}", file=sys.stderr, flush=True)
        complaint = _complaint(words)
        failed = failed or complaint
    if failed:
        raise RuntimeError(failed)


def _complaint(words: Sequence[str]) -> str | None:
    """Runs a command; returns what is wrong with it, None if nothing is."""
    try:
        code = subprocess.call(words)
    except FileNotFoundError:
        return f"There is no {words[0]} on the PATH, which this job's backend is asked with."
    if not code:
        return None
    return (
        f"`{shlex.join(words)}` ended with {code} and the lines above. Where the job is not found, "
        "it has ended, or never began."
    )


def _filled_in(command: Sequence[str]) -> list[str]:
    """Puts the files in place of a last word with `*` in its name; empty if there are none."""
    *words, last = command
    name = Path(last).name
    if "*" not in name:
        return [*words, last]
    files = sorted(map(str, Path(last).parent.glob(name)))
    return [*words, *files] if files else []


def _names_here() -> str:
    """The jobs whose files are below this folder, for a message."""
    return ", ".join(sorted(path.parent.name for path in Path("jobs").glob(f"*/{RECORD}"))) or (
        f"none in {Path('jobs').absolute()}"
    )
