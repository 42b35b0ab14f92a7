"""A command from warm is what the cold one is, but for the time that it takes to start."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import warm

ABOUT_ITSELF = """
import json, os, sys
import keras, trainer
print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), __name__, sys.stdin.read()]))
print("aside", file=sys.stderr)
sys.exit(7)
"""


def said_by(start: warm.Start, folder: Path) -> tuple[int, list[object], str]:
    done = subprocess.run(
        start([sys.executable, "-c", ABOUT_ITSELF, "--one", "two words"]),
        input="asked", capture_output=True, text=True, cwd=folder, check=False,
        env={"PATH": os.environ["PATH"], "MINE": "é", "PYTHONPATH": str(warm.REPOSITORY)},
    )  # fmt: skip
    # The trainer and cold imports set variables; those of the caller are there in both.
    argv, cwd, environ, *others = json.loads(done.stdout)
    return done.returncode, [argv, cwd, environ["MINE"], "HOME" in environ, *others], done.stderr


def test_words_folder_variables_streams_and_exit_code_are_those_of_a_cold_one(
    tmp_path: Path,
) -> None:
    code, said, stderr = said_by(warm.up, tmp_path)
    assert (code, stderr) == (7, "aside\n")
    assert said == [["-c", "--one", "two words"], str(tmp_path), "é", False, "__main__", "asked"]
    assert said_by(warm.cold, tmp_path)[:2] == (code, said)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("os._exit(3)", 3),
        ("raise ValueError('bad')", 1),
        ("atexit.register(os._exit, 5)", 5),  # What is to be done at the end is.
    ],
)
def test_end_is_that_of_a_cold_one(how: str, code: int) -> None:
    command = warm.up([sys.executable, "-c", f"import atexit, os, signal; {how}"])
    assert subprocess.run(command, capture_output=True, check=False).returncode == code


WAITING = """
import os, signal, time
signal.signal(signal.SIGUSR1, lambda *_: os._exit(42))
print(os.getpid(), flush=True)
time.sleep(60)
"""


def waiting() -> tuple[subprocess.Popen[str], int]:
    command = warm.up([sys.executable, "-c", WAITING])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_signals_reach_it() -> None:
    process, _ = waiting()
    with process:
        process.send_signal(signal.SIGUSR1)
        assert process.wait(60) == 42


def test_stop_is_seen_and_nothing_outlives_what_was_started() -> None:
    process, command = waiting()
    with process:
        os.kill(command, signal.SIGSTOP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.kill()
        wait_until(lambda: not Path(f"/proc/{command}").exists())
