"""A command's work does not depend on the shell, notebook or terminal that it is started from."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.coco_folder import jpeg
from tests.support.miniature import environment, python

# Says something, draws something, and leaves a file: work that must be done however it is started.
SCRIPT = """
import pathlib, sys

from absl import logging

from cli import command


def main(arguments):
    for number in range(10_000):  # More than a pipe holds.
        print("c\\u00e2ble \\u732b", number)
    print("to stderr", file=sys.stderr)
    logging.warning("to the log")
    sys.stdin.read()
    from cli import page
    page.svg(page.Figure(), "name")
    opened = open("work", "w", encoding="utf-8")
    opened.write("done")
    opened.close()


command.run(main)
"""

WORK_IS_DONE = {
    "stderr is closed": ("2>&-", {}, 0),
    "stdout is closed": (">&-", {}, 0),
    "all are closed": ("<&- >&- 2>&-", {}, 0),
    "stdin is closed": ("<&-", {}, 0),
    "stderr's disk is full": ("2>/dev/full", {}, 0),
    "stdout's disk is full": (">/dev/full", {}, 1),  # What was printed is lost, and that is said.
    "both are full": (">/dev/full 2>&1", {}, 1),
    "reader has gone": ("| head -n 1", {}, 0),
    "reader of all has gone": ("2>&1 | true", {}, 0),
    "unbuffered, reader has gone": ("| head -n 1", {"PYTHONUNBUFFERED": "1"}, 0),
    "ASCII": ("", {"PYTHONIOENCODING": "ascii"}, 0),
    "C locale": ("", {"LC_ALL": "C"}, 0),
    "C locale to the letter": ("", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
                               0),
    "notebook": ("", {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", WORK_IS_DONE)
def test_work_is_done_and_the_exit_code_says_so(name: str, tmp_path: Path) -> None:
    redirection, variables, code = WORK_IS_DONE[name]
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} script.py {redirection}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, cwd=tmp_path, env={**environment(), **variables}, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert (tmp_path / "work").read_text() == "done"
    assert b"Traceback" not in done.stderr + done.stdout
    if name == "stdout's disk is full":
        assert b"Error: What was printed is lost: No space left on device." in done.stderr
    if name == "reader has gone":
        assert done.stdout.decode() == "c\xe2ble \u732b 0\n"
        assert b"to the log" in done.stderr
    if name == "ASCII":
        assert done.stdout.startswith(b"c\\xe2ble \\u732b 0\n")
    if name.startswith("C locale"):
        assert done.stdout.startswith("c\xe2ble \u732b 0\n".encode())


def test_files_do_not_take_the_place_of_closed_streams(tmp_path: Path) -> None:
    """Else what libraries print to file 2 would stand in the file that was opened next."""
    script = SCRIPT.replace('opened.write("done")', "print(opened.fileno(), file=opened)")
    (tmp_path / "script.py").write_text(script)
    command = f"{sys.executable} script.py <&- >&- 2>&-"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), check=True)
    assert int((tmp_path / "work").read_text()) > 2


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number, name in enumerate(("c\xe2ble", "\u732b")):
        (folder / name).mkdir()
        for photograph in range(8):
            content = jpeg(100 * number + photograph)
            (folder / name / f"{photograph}\xe9.jpg").write_bytes(content)
    return folder


@pytest.fixture
def long_folder() -> Iterator[Path]:
    """A folder whose path is longer than a socket's may be."""
    with tempfile.TemporaryDirectory(prefix="l" * 150) as folder:
        yield Path(folder)


def build(photographs: Path, data_dir: Path, **variables: str) -> str:
    """Builds with two workers; returns what was said on stderr."""
    done = python(
        "data_prep.build", "--source=folder", f"--folder_dir={photographs}", "--classes=all",
        "--num_workers=2", "--num_shards=2", f"--data_dir={data_dir}", **variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def digest(data_dir: Path) -> str:
    return json.loads((data_dir / "manifest.json").read_text(encoding="utf-8"))["digest"]


def test_build_is_the_same_beside_a_long_folder_in_c_and_without_a_home(
    photographs: Path, long_folder: Path, tmp_path: Path
) -> None:
    build(photographs, tmp_path / "plain")
    odd = {"TMPDIR": str(long_folder), "HOME": "/dev/null/none", "LC_ALL": "C", "PYTHONUTF8": "0"}
    said = build(photographs, tmp_path / "odd", **odd)
    assert digest(tmp_path / "odd") == digest(tmp_path / "plain")
    assert "one process" not in said  # Its workers' socket found another place.
    assert "matplotlib" not in said.lower()
    assert not list(long_folder.iterdir())


def test_build_without_semaphores_is_done_in_one_process_and_says_so(
    photographs: Path, tmp_path: Path
) -> None:
    command = [
        *("unshare", "--mount", "bash", "-c"),
        'mount -t tmpfs -o ro none /dev/shm && exec "$0" "$@"',
        *(sys.executable, "-m", "data_prep.build", "--source=folder", "--classes=all"),
        *(f"--folder_dir={photographs}", "--num_workers=2", "--num_shards=2"),
        f"--data_dir={tmp_path / 'data'}",
    ]
    try:
        subprocess.run([*command[:4], "mount -t tmpfs none /mnt"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a tmpfs")
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stderr.splitlines() if "one process" in line]
    assert "semaphores, which are in /dev/shm (Read-only file system)" in line
    assert (tmp_path / "data" / "manifest.json").exists()


def test_folder_for_temporary_files_that_is_missing_is_replaced(
    photographs: Path, tmp_path: Path
) -> None:
    assert "one process" not in build(photographs, tmp_path / "data", TMPDIR=os.devnull)
