"""A job as it is submitted: files that a person can read, keep and edit, and commands."""

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from cli.command import FlagsError
from launch.submitted import RECORD, Submitted, folder_of

SCRIPT = "submit.sh"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What a backend makes of a launch.

    Attributes:
        folder: Where the files go, absolute: the commands name them there.
        files: The content of each.
        commands: What submits them, in this order.
        client: The program without which that cannot be done.
        install: How to get it.
        submitted: The commands for afterwards.
        clean_up: A shell's command that removes what is left of the job; never the run.
        warning: What to know before it is submitted.
    """

    folder: Path
    files: Mapping[str, str]
    commands: tuple[tuple[str, ...], ...]
    client: str
    install: str
    submitted: Submitted
    clean_up: str
    warning: str | None = None

    def describe(self) -> str:
        """Returns all of it for a person to read, the commands last."""
        files = "".join(
            f"==> {self.folder / name} <==\n{content}\n" for name, content in self._all().items()
        )
        warning = f"Warning: {self.warning}\n" if self.warning else ""
        return f"{files}{warning}{self.advice()}\n"

    def advice(self) -> str:
        """Returns the commands for afterwards, a line each."""
        which = self._which()
        return (
            f"Watch:    python -m launch.logs {which}\n"
            f"How far:  python -m launch.status {which}\n"
            f"Stop:     python -m launch.stop {which}\n"
            f"Clean up: {self.clean_up}"
        )

    def _which(self) -> str:
        """How the commands for afterwards find this job."""
        name = self.submitted.name
        if self.folder == folder_of(name):
            return f"--name={name}"
        return f"--job_dir={shlex.quote(str(self.folder))}"

    def write(self) -> None:
        """Writes the files, and the commands as one that can be started again.

        Raises:
            FlagsError: if another job's are there.
        """
        self._refuse_another()
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, content in self._all().items():
            (self.folder / name).write_text(content)

    def _refuse_another(self) -> None:
        """A job of the same name could not be told from it, here or by the backend."""
        try:
            found = json.loads((self.folder / RECORD).read_text())["writes"]
        except (OSError, ValueError, KeyError, TypeError):
            return  # None is there that `launch.stop` could end.
        if found != self.submitted.writes:
            raise FlagsError(
                f"{self.folder} holds the files of a job that writes {found}. Received: a job that "
                f"writes {self.submitted.writes}. Pass another --name, or remove {RECORD} there "
                "once that job is over."
            )

    def check_client(self) -> None:
        """Raises RuntimeError if the client is not installed."""
        if shutil.which(self.client) is None:
            raise RuntimeError(
                f"There is no {self.client} on the PATH, which submits this job. {self.install} "
                "With --dry_run the job is printed instead."
            )

    def submit(self) -> None:
        """Writes the files and runs the commands.

        Raises:
            FlagsError: if another job's files are there.
            RuntimeError: if the client is missing, or one of the commands fails.
        """
        self.check_client()
        self.write()
        if self.warning:
            print(f"Warning: {self.warning}", file=sys.stderr, flush=True)
        for command in self.commands:
            code = subprocess.call(command)
            if code:
                raise RuntimeError(
                    f"`{' '.join(command[:4])} ...` ended with {code} and the lines above. Mend "
                    f"that, then start `bash {shlex.quote(str(self.folder / SCRIPT))}`."
                )

    def _all(self) -> dict[str, str]:
        lines = "\n".join(map(_in_lines, self.commands))
        return {
            **self.files,
            SCRIPT: f"#!/usr/bin/env bash\nset -euo pipefail\n{lines}\n",
            RECORD: self.submitted.to_json(),
        }


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fills a template in.

    Args:
        template: A file of `templates/`. Its lines that begin with `#%` are loops and conditions,
            so that it is a shell script or YAML as it stands.
        values: For its `{{ name }}`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("launch"),
        undefined=jinja2.StrictUndefined,
        line_statement_prefix="#%",
        keep_trailing_newline=True,
        autoescape=False,  # Neither a shell script nor YAML is HTML.
    )
    environment.filters |= {"in_quotes": _in_quotes, "json": _in_json, "sbatch": _in_sbatch}
    environment.filters["shell"] = shlex.quote
    return environment.get_template(template).render(values)


def _in_quotes(text: str) -> str:
    """What stands between a shell's single quotes."""
    return text.replace("'", "'\\''")


def _in_json(value: object) -> str:
    """A value as JSON, and so as YAML, whose escapes know no pair of surrogates."""
    return json.dumps(value, ensure_ascii=False)


def _in_sbatch(text: str) -> str:
    """A word of an #SBATCH line: sbatch takes quotes and backslashes, but no shell's variables."""
    if re.fullmatch(r"[\w./:,%+=@-]*", text):
        return text
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'


def _in_lines(command: tuple[str, ...]) -> str:
    """A command as a shell takes it; where it has many options, each on a line of its own."""
    words = [shlex.quote(word) for word in command]
    options = sum(word.startswith("--") for word in words)
    break_before = " \\\n  " if options > 3 else " "
    return "".join(
        (break_before if word.startswith("--") else " ") + word for word in words
    ).lstrip()
