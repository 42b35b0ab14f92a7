"""The project installed as a user installs it: each command by its name, and as a verb of one."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli import __version__
from tests.support.miniature import REPOSITORY, python

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
SCRIPTS = PROJECT["project"]["scripts"]
COMMANDS = sorted(set(SCRIPTS) - {"animals"})
OWN_FLAGS = {
    "animals-build": "--coco_dir",
    "animals-verify": "--[no]quick",
    "animals-train": "--freeze_layers",
    "animals-evaluate": "--split",
    "animals-predict": "--top_k",
    "animals-explain": "--class",
    "animals-serve": "--port",
    "animals-crossval": "--folds",
    "animals-tune": "--trials",
    "animals-export": "--quantize",
    "animals-launch": "--backend",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an install without its dependencies, which are those of the tests."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for package in PROJECT["tool"]["setuptools"]["packages"]:
        if "." not in package:  # Its rooms come with it.
            shutil.copytree(REPOSITORY / package, source / package)
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", target, source], check=True, capture_output=True)
    return target


def run(installed: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [installed / "bin" / script, *arguments],
        capture_output=True, text=True, check=False, cwd="/",
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def test_every_command_is_a_console_script_here() -> None:
    assert set(COMMANDS) == set(OWN_FLAGS)


@pytest.mark.parametrize("script", COMMANDS)
def test_script_and_verb_show_their_own_flags_and_the_version(script: str, installed: Path) -> None:
    shown = run(installed, script, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"\nUsage: {script} --" in shown.stdout
    assert f"\n  {OWN_FLAGS[script]}: " in shown.stdout
    assert "pdb" not in shown.stdout  # absl's own are under --helpfull.
    assert run(installed, script, "-h").stdout == shown.stdout
    verb = script.removeprefix("animals-")
    as_verb = run(installed, "animals", verb, "--help")
    assert run(installed, "animals", "help", verb).stdout == as_verb.stdout
    assert as_verb.stdout == shown.stdout.replace(f"Usage: {script} ", f"Usage: animals {verb} ")
    for command in ((script,), ("animals", verb), ("animals",)):
        version = run(installed, *command, "--version")
        assert (version.returncode, version.stdout) == (0, f"coco-animals {__version__}\n")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_animals_lists_its_verbs(arguments: tuple[str, ...], installed: Path) -> None:
    done = run(installed, "animals", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    for script in COMMANDS:
        assert f"\n  {script.removeprefix('animals-')} " in done.stdout


def test_verb_hands_flags_and_exit_code_on(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "animals", "verify", f"--data_dir={tmp_path}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no manifest.json" in done.stderr
    done = run(installed, "animals", "verify", "--quikc")
    assert done.returncode == 2
    assert "quikc" in done.stderr


def test_unknown_verb_is_told_the_verbs() -> None:
    done = python("cli.animals", "trian")
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: The verbs are build, verify, train, ")
    assert "Received: trian." in line


def test_install_knows_its_version(installed: Path) -> None:
    [metadata] = installed.glob("*.dist-info/METADATA")
    assert f"\nVersion: {__version__}\n" in metadata.read_text()
