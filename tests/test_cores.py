"""The cores that a process may use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli import cores
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
    assert cores.available(tmp_path) == expected


IN_CONTAINER = """
import os

os.sched_getaffinity = lambda _: set(range(8))
from cli import cores
from trainer.distribute import strategy as distribution

cores.available.__defaults__ = (__import__("pathlib").Path("{cgroup}"),)
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
