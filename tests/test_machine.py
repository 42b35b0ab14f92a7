"""The cores, memory and disk that a process may use."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cli import machine
from tests.support.miniature import environment


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, 8),
        ("max 100000", 8),
        ("400000 100000", 4),
        ("50000 100000", 1),  # Half a core's time.
        ("250000 100000", 3),
        ("3200000 100000", 8),  # More than there are.
    ],
)
def test_cores_are_no_more_than_the_containers(
    limit: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    if limit:
        (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert machine.cores(tmp_path) == expected


IN_CONTAINER = """
import os

os.sched_getaffinity = lambda _: set(range(8))
from cli import machine
from trainer.distribute import strategy as distribution

machine.cores.__defaults__ = (__import__("pathlib").Path("{cgroup}"),)
distribution.create_strategy(0)
import tensorflow as tf

threads = tf.config.threading
print(threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads())
"""


def test_tensorflow_keeps_to_the_containers_time(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("300000 100000\n")
    done = subprocess.run(
        [sys.executable, "-c", IN_CONTAINER.format(cgroup=tmp_path)],
        capture_output=True, text=True, env=environment(), check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["3", "3"]


@pytest.mark.parametrize(("limit", "expected"), [("5000", 3000), ("max", None), (None, None)])
def test_memory_is_no_more_than_the_containers(
    limit: str | None, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_host = psutil.virtual_memory()._replace(available=10_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: of_host)
    if limit:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("2000\n")
    assert machine.free_memory(tmp_path) == (expected or 10_000)


@pytest.mark.parametrize(("free", "passes"), [(99, False), (100, True)])
def test_disk_that_is_too_small_is_refused(
    free: int, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    workdir = Path(tmp_path / "not" / "there" / "yet")
    if passes:
        machine.require_disk(workdir, 100)
        return
    with pytest.raises(ValueError, match="The disk has no room"):
        machine.require_disk(workdir, 100)
