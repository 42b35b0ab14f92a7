"""A workdir is one run's: a second one at once is refused, whatever became of the first."""

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import lock
from tests.support import miniature, warm
from trainer.workdir.files import Workdir

HOLD = """
import subprocess, sys
from trainer.workdir.files import Workdir
with Workdir(sys.argv[1]).locked():
    child = subprocess.Popen(["sleep", "60"])
    print(child.pid, flush=True)
    sys.stdin.read()
    child.kill()
"""


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that holds the workdir until the end, and the id of one that it started."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(workdir)], env=miniature.environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        child = int(process.stdout.readline())
        yield process, child
        with contextlib.suppress(BrokenPipeError):
            process.communicate(timeout=180)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_second_run_is_refused_in_one_line(dataset: Path, tmp_path: Path) -> None:
    with held(tmp_path) as (process, _):
        flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}")
        done = miniature.train(*flags, start=warm.cold)
        assert names(tmp_path) == [".lock"]
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"Error: Another process trains in this workdir. Received: {tmp_path}, ")
    assert f"in use by process {process.pid} on host {os.uname().nodename}. " in line
    assert "--workdir" in line
    assert names(tmp_path) == []  # It went with the first.


def test_lock_ends_with_a_killed_run_even_if_what_that_started_lives_on(tmp_path: Path) -> None:
    with held(tmp_path) as (process, child):
        process.kill()
        process.wait()
        os.kill(child, 0)  # It is there.
        try:
            with Workdir(tmp_path).locked():
                pass
        finally:
            os.kill(child, 9)


@pytest.mark.parametrize("before", ["", "new/run", "new", "new/run/checkpoints"])
def test_run_that_fails_leaves_the_folders_as_they_were(before: str, tmp_path: Path) -> None:
    (tmp_path / before).mkdir(parents=True, exist_ok=True)
    folders = sorted(tmp_path.rglob("*"))
    with contextlib.suppress(ValueError), Workdir(tmp_path / "new/run").locked():
        assert names(tmp_path / "new/run")[0] == ".lock"
        raise ValueError("bad")
    assert sorted(tmp_path.rglob("*")) == folders


def test_lock_file_that_its_last_holder_removes_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, removed = fcntl.flock, []

    def flock_too_late(descriptor: int, operation: int) -> None:
        if not removed:  # The last holder ends between our opening its file and locking it.
            removed.append((tmp_path / ".lock").unlink())
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_too_late)
    with Workdir(tmp_path).locked():
        assert lock.is_held(tmp_path / ".lock")
        with pytest.raises(RuntimeError, match="Another process"), Workdir(tmp_path).locked():
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_locks_gets_a_warning(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with Workdir(tmp_path).locked():
        assert names(tmp_path) == []
    assert f"{tmp_path} has no locks" in caplog.text


def test_bucket_has_no_lock() -> None:
    with Workdir("gs://bucket/run").locked():
        pass


def test_more_epochs_end_what_says_that_the_run_is_finished(tmp_path: Path) -> None:
    """Else a kill right after it would leave a run that passes for a finished one of so many."""
    workdir = Workdir(tmp_path)
    run = {"recipe": {"epochs": 2, "seed": 0}, "data": {"classes": ["cat"]}}
    workdir.claim(run, {"step": 0})
    workdir.metrics.write_text("")
    workdir.claim(run, {"step": 5})
    assert workdir.metrics.exists()
    workdir.claim({**run, "recipe": {"epochs": 3, "seed": 0}}, {"step": 9})
    assert not workdir.metrics.exists()
    config = json.loads(workdir.config.read_text())
    assert (workdir.epochs(), config["recipe"]) == (3, {"epochs": 3, "seed": 0})
    assert [start["step"] for start in config["resumed"]] == [5, 9]
