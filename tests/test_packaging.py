"""What an install takes along, what it says, and the versions that it asks for."""

import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.miniature import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
BOUNDED = ("tensorflow", "keras")  # What trainer/workarounds.py rests on changes with them.
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what an install is made from."""
    copy = tmp_path / "source"
    for package in PROJECT["tool"]["setuptools"]["packages"]:
        if "." not in package:
            shutil.copytree(REPOSITORY / package, copy / package)
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, copy)
    return copy


def pip(*arguments: str) -> str:
    """Runs pip as `make` does; returns what it says."""
    done = subprocess.run([*PIP, *arguments], capture_output=True, text=True, check=False)
    if "setuptools>=77" in done.stderr and done.returncode:
        pytest.skip(f"needs a package index: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return "\n".join(
        line for line in (done.stdout + done.stderr).splitlines() if "is ignored: it is" not in line
    )  # An index of this machine's that is not there.


def test_wheel_holds_every_module_and_template_and_its_build_says_nothing(
    source: Path, tmp_path: Path
) -> None:
    assert pip("wheel", "--no-deps", f"--wheel-dir={tmp_path}", str(source)) == ""
    [wheel] = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(
        ["git", "ls-files", *(p for p in PROJECT["tool"]["setuptools"]["packages"])],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert any("/templates/" in name for name in tracked)
    assert packed >= set(tracked)


def test_editable_install_says_nothing_and_is_the_folder(source: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    assert pip("install", "--no-deps", f"--prefix={prefix}", "--editable", str(source)) == ""
    [path] = prefix.rglob("*coco_animals*.pth")
    assert path.read_text().strip() == str(source)


@pytest.mark.parametrize("name", BOUNDED)
def test_tensorflow_and_keras_are_bounded_by_what_is_tested(name: str) -> None:
    [requirement] = [
        r for r in map(Requirement, PROJECT["project"]["dependencies"]) if r.name == name
    ]
    tested = importlib.metadata.version(name)
    major, minor, *_ = map(int, tested.split("."))
    assert tested in requirement.specifier
    assert f"{major}.{minor + 1}.0" not in requirement.specifier
    constraints = (REPOSITORY / "docker" / "constraints.txt").read_text().splitlines()
    [image] = [line for line in constraints if line.startswith(f"{name}==")]
    assert image.removeprefix(f"{name}==") in requirement.specifier
