"""Two builds at once into one folder: the second is refused, whatever became of the first."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep import lock
from tests.support import coco_folder, miniature

HOLD = """
import sys, pathlib
from data_prep import lock
with lock.hold(pathlib.Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2] else None):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held(folder: Path, task: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder, until the end or until it is killed."""
    index = "" if task is None else str(task)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), index], env=miniature.environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "held\n"
        yield process
        with contextlib.suppress(BrokenPipeError):
            process.communicate(timeout=180)


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        (None, None, True),
        (None, 0, True),  # A task beside a whole build.
        (0, None, True),  # And the other way round: also --commit_only before the last task ends.
        (0, 0, True),
        (0, 1, False),
    ],
)
def test_second_build_is_refused_with_the_first_one(first, second, refused, tmp_path) -> None:
    with held(tmp_path, first) as process:
        if refused:
            says = f"in use by process {process.pid} on host {os.uname().nodename}. "
            with pytest.raises(RuntimeError, match=says), lock.hold(tmp_path, second):
                pass
        else:
            with lock.hold(tmp_path, second):
                pass
    with lock.hold(tmp_path, second):  # It ends with the first.
        pass


def test_every_task_at_work_is_named(tmp_path: Path) -> None:
    with held(tmp_path, 0) as ended, held(tmp_path, 1) as one, held(tmp_path, 2) as two:
        ended.kill()
        ended.wait()
        with pytest.raises(RuntimeError, match="Another build") as error, lock.hold(tmp_path):
            pass
    assert f"process {one.pid} on" in str(error.value)
    assert f"process {two.pid} on" in str(error.value)
    assert f"process {ended.pid} on" not in str(error.value)


def test_lock_of_a_killed_build_is_free(tmp_path: Path) -> None:
    with held(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with lock.hold(tmp_path):
            pass


def test_refused_build_says_so_in_one_line_and_changes_nothing(tmp_path: Path) -> None:
    coco = coco_folder.write(tmp_path / "coco")
    state = tmp_path / "data" / ".build"
    state.mkdir(parents=True)
    with held(state) as process:
        done = miniature.python(
            "data_prep.build", "--source=coco", f"--coco_dir={coco}", "--classes=cat,dog",
            f"--data_dir={tmp_path / 'data'}",
        )  # fmt: skip
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert f"Another build is at work. Received: {state}, in use by process {process.pid}" in line
    assert [path.name for path in (tmp_path / "data").rglob("*")] == [".build", "folder.lock"]
