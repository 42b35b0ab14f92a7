"""Engines map `build_shard` over the tasks; whichever does, and however it ends, bytes are safe.

A photograph that is a named pipe holds its worker still until the test writes it, so that what
happens in the middle of a shard needs no waiting and no luck.
"""

import concurrent.futures
import contextlib
import hashlib
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from data_prep import runners
from data_prep.shards import ExampleSpec, ShardTask, Stamp, build_shard
from tests.support import from_pipes
from tests.support.coco_folder import jpeg
from tests.support.miniature import environment
from tfrecords import naming

T = TypeVar("T")

SCRIPT = """
import sys

import msgspec

from cli import command
from data_prep import runners
from data_prep.shards import ShardTask
from tests.support.from_pipes import build_shard


def main(arguments):
    tasks = msgspec.json.decode(open(arguments[0]).read(), type=list[ShardTask])
    list(runners.run(build_shard, tasks, 2))


if __name__ == "__main__":
    command.run(main)
"""


def tasks(tmp_path: Path, count: int, *, pipes: bool = False) -> list[ShardTask]:
    """Shards of two photographs each, the first of which may be a pipe."""
    data_dir = tmp_path / "data"
    (data_dir / naming.BUILD_STATE).mkdir(parents=True, exist_ok=True)
    made = []
    for index in range(count):
        examples = []
        for number in (2 * index, 2 * index + 1):
            path, content = tmp_path / f"{number}.jpg", jpeg(number)
            if pipes and number % 2 == 0:
                os.mkfifo(path)
            else:
                path.write_bytes(content)
            examples.append(
                ExampleSpec(
                    path=str(path), content=hashlib.sha256(content).hexdigest(),
                    stamp=Stamp(0, 0),
                    filename=path.name, file=path.name, image_id=number, label=0, size=(0, 0),
                    objects=(), crop=None,
                )
            )  # fmt: skip
        made.append(ShardTask(str(data_dir), naming.shard_name("train", index, count), 0, examples))
    return made


def wait_for(condition: Callable[[], T]) -> T:
    """Returns the first true value; fails after two minutes."""
    for _ in range(24000):
        if value := condition():
            return value
        time.sleep(0.005)
    pytest.fail("waited for two minutes")


def open_pipes(made: list[ShardTask]) -> list[int]:
    """Opens each shard's pipe for writing, which succeeds once a worker reads it."""

    def opened(path: str) -> int | None:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    return [wait_for(lambda path=task.examples[0].path: opened(path)) for task in made]


@contextlib.contextmanager
def started(tmp_path: Path, made: list[ShardTask]) -> Iterator[subprocess.Popen[str]]:
    """Runs the tasks on two workers, in a process group of their own."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "tasks.json").write_bytes(msgspec.json.encode(made))
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "tasks.json")]
    with subprocess.Popen(
        command, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):  # As it should be: all have ended.
                os.killpg(process.pid, signal.SIGKILL)


def test_two_workers_write_the_bytes_of_one(tmp_path: Path) -> None:
    found = []
    for workers in (1, 2):
        root = tmp_path / str(workers)
        results = sorted(
            runners.run(build_shard, tasks(root, 3), workers), key=lambda result: result.shard.file
        )
        found.append(results)
        for result in results:
            content = (root / "data" / result.shard.file).read_bytes()
            assert hashlib.sha256(content).hexdigest() == result.shard.sha256
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_failure_in_a_worker_is_the_failure_of_the_run(tmp_path: Path) -> None:
    made = tasks(tmp_path, 3)
    Path(made[1].examples[0].path).write_bytes(b"other")
    with pytest.raises(OSError, match=r"changed during the build. Received: .*/2.jpg"):
        list(runners.run(build_shard, made, 2))
    assert not (tmp_path / "data" / made[1].file).exists()


def fail_or_take_until_that_is_known(path: Path) -> None:
    if path.name == "0":
        raise OSError("The first one fails.")
    runners._stopping[0].wait(60)
    path.touch()


def test_items_that_were_handed_out_ahead_do_not_start_after_a_failure(tmp_path: Path) -> None:
    """Each might wait as long as the first did, for a store that does not answer."""
    items = [tmp_path / str(number) for number in range(9)]
    with pytest.raises(OSError, match="The first one fails"):
        list(runners.run(fail_or_take_until_that_is_known, items, 2))
    assert len(list(tmp_path.iterdir())) <= 2  # One of each worker.


def test_killed_worker_is_named_with_what_to_do(tmp_path: Path) -> None:
    made = tasks(tmp_path, 2, pipes=True)
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        running = thread.submit(list, runners.run(from_pipes.build_shard, made, 2))
        pipes = open_pipes(made)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        # The pool may only see it once another shard ends, so let that one end.
        for pipe, number in zip(pipes, (0, 2), strict=True):
            with contextlib.suppress(BrokenPipeError):
                os.write(pipe, jpeg(number))
            os.close(pipe)
        with pytest.raises(RuntimeError, match=r"killed. Received: num_workers=2.*take fewer"):
            running.result(timeout=180)
    assert len(list((tmp_path / "data").glob("*-00002"))) < 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_run_ends_its_shards_and_says_one_line(
    number: signal.Signals, tmp_path: Path
) -> None:
    made = tasks(tmp_path, 2, pipes=True)
    with started(tmp_path, made) as process:
        pipes = open_pipes(made)
        if number == signal.SIGTERM:
            process.send_signal(number)  # What a machine that is taken away sends.
        else:
            os.killpg(process.pid, number)  # What a terminal sends: on Ctrl-C, and as it is closed.
        for pipe, image in zip(pipes, (0, 2), strict=True):
            os.write(pipe, jpeg(image))
            os.close(pipe)
        _, stderr = process.communicate(timeout=180)
    assert process.returncode == 42
    [line] = stderr.splitlines()
    assert line.startswith("Error: Interrupted.")
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert names == {naming.BUILD_STATE, *(task.file for task in made)}


@pytest.mark.parametrize(
    ("kill", "number", "code"),
    [
        (os.kill, signal.SIGKILL, -signal.SIGKILL),
        (os.killpg, signal.SIGTERM, 42),  # As Slurm ends a job: the workers too get it.
    ],
)
def test_workers_end_with_a_killed_parent(
    kill: Callable[[int, int], None], number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """Else they would wait for ever, and write the same files as the build that goes on."""
    made = tasks(tmp_path, 2, pipes=True)
    with started(tmp_path, made) as process:
        pipes = open_pipes(made)
        kill(process.pid, number)
        for pipe in pipes:
            left = select.poll()
            left.register(pipe, 0)  # An error condition alone: nobody reads any more.
            assert left.poll(120_000), "a worker lives on"
            os.close(pipe)
        process.communicate(timeout=180)
    assert process.returncode == code
    assert not list((tmp_path / "data").glob("*-00002"))
