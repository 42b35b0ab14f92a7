"""Runs the steps of the Dockerfile in a clean root, where there is no container engine.

`python docker/rehearse.py --build_arg=EXTRAS=` (as root, with Debian's debootstrap): each stage
starts from a fresh Debian 12 with its Python 3.11, in place of python:3.11-slim-bookworm; RUN goes
through chroot, and what the image would do when it starts is run as its user. It ends with the
first step that fails. Pip's settings of this machine hold in the root too.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from absl import app, flags

_REPOSITORY = Path(__file__).parents[1]
_BASE = re.compile(r"python:3\.11\.\d+-slim-bookworm")
# As a container engine does; for the command alone, since the mounts end with it.
_MOUNT = (
    "unshare", "--mount", "sh", "-c",
    'mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$@"',
)  # fmt: skip
_ARGUMENTS = flags.DEFINE_multi_string("build_arg", [], "NAME=VALUE, as for `docker build`.")
_COMMANDS = flags.DEFINE_multi_string(
    "command", ["trainer.main --help"], "What to run in the finished image."
)


class Stage:
    """A root that the instructions of one stage change."""

    def __init__(self, root: Path, arguments: dict[str, str]) -> None:
        self.root = root
        self.variables: dict[str, str] = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        self.workdir = "/"
        self.user = "0:0"
        self.entrypoint: list[str] = []
        self._arguments = arguments

    def do(self, instruction: str, rest: str, stages: dict[str, "Stage"]) -> None:
        """Does what the instruction says, or fails."""
        print(f"{instruction} {rest}", flush=True)
        if instruction == "ARG":
            name, _, default = rest.partition("=")
            self.variables[name] = self._arguments.get(name, default.strip('"'))
        elif instruction == "ENV":
            pairs = (word.partition("=") for word in shlex.split(rest))
            self.variables |= {name: self._filled_in(value) for name, _, value in pairs}
        elif instruction == "WORKDIR":
            self.workdir = rest
            self._path(rest).mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            self._copy(rest.split(), stages)
        elif instruction == "RUN":
            self.run(["sh", "-c", rest])
        elif instruction == "USER":
            self.user = rest
        elif instruction == "ENTRYPOINT":
            self.entrypoint = json.loads(rest)
        elif instruction != "CMD":
            raise ValueError(f"What does {instruction} do? Teach it to {__file__}.")

    def run(self, command: list[str]) -> None:
        """Runs a command as the stage's user, in its folder and with its variables alone."""
        inside = ["sh", "-c", 'cd "$0" && exec "$@"', self.workdir, *command]
        variables = {**{k: v for k, v in os.environ.items() if k.startswith("PIP_")},
                     **self.variables}  # fmt: skip
        subprocess.run(
            [*_MOUNT, self.root, f"--userspec={self.user}", self.root, *inside],
            env=variables,
            check=True,
        )

    def _copy(self, words: list[str], stages: dict[str, "Stage"]) -> None:
        *options, source, target = words
        if options:
            [stage] = [option.removeprefix("--from=") for option in options]
            shutil.copytree(stages[stage]._path(source), self._path(target), symlinks=True)
            return
        files = subprocess.run(
            ["git", "-C", _REPOSITORY, "archive", "HEAD", source], check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", self._path(target)], input=files.stdout, check=True)

    def _path(self, path: str) -> Path:
        return self.root / Path("/", self.workdir, path).relative_to("/")

    def _filled_in(self, value: str) -> str:
        return re.sub(r"\$(\w+)", lambda match: self.variables[match[1]], value)


def main(_: list[str]) -> None:
    """Rehearses the whole Dockerfile."""
    arguments = dict(pair.split("=", 1) for pair in _ARGUMENTS.value)
    text = (_REPOSITORY / "Dockerfile").read_text()
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    with tempfile.TemporaryDirectory(prefix="image") as folder:
        base = Path(folder, "base")
        _make_base(base)
        stages: dict[str, Stage] = {}
        for instruction, _, rest in (line.partition(" ") for line in lines if line.strip()):
            if instruction == "FROM":
                image, _, name = rest.partition(" AS ")
                if not _BASE.fullmatch(image):
                    raise ValueError(f"The clean root stands for {_BASE.pattern}, not for {image}.")
                root = Path(folder, f"stage{len(stages)}")
                subprocess.run(["cp", "-a", base, root], check=True)
                stage = stages[name] = Stage(root, arguments)
            else:
                stage.do(instruction, rest.strip(), stages)
        for command in _COMMANDS.value:
            print(f"==> {command}", flush=True)
            stage.run([*stage.entrypoint, *command.split()])
    print("All steps ran.")


def _make_base(base: Path) -> None:
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(
        ["debootstrap", "--variant=minbase", packages, "bookworm", base],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    (base / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for settings in ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(settings).exists():
            shutil.copy(settings, base / settings.lstrip("/"))


if __name__ == "__main__":
    app.run(main)
