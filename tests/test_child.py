"""A command that another one starts ends as it would by itself, and hears one signal."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.miniature import environment
from trainer.loop import child
from trainer.loop.signals import StopSignals

WAITS = """
import signal, sys, time
def end(number, frame):
    print(signal.Signals(number).name); sys.exit(42)
signal.signal(signal.SIGTERM, end)
print("there")
time.sleep(60)
"""
STARTS = """
import sys
from cli import command
from trainer.loop import child
from trainer.loop.signals import StopSignals
def main(_):
    with StopSignals() as stop:
        child.run([sys.executable, "-c", sys.argv[1]], stop, child.titled("[1/2]", set()))
command._exit_code(main, []) and command.exit_with(42)
"""


@pytest.mark.parametrize("code", [0, 1, 42])
def test_lines_are_passed_on_once_and_the_code_comes_back(
    code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", f"import sys; print('a'); print('b'); sys.exit({code})"]
    with StopSignals() as stop:
        assert child.run(command, stop, child.titled("[1/2]", {"a\n"})) == code
    assert capsys.readouterr().out == "[1/2] b\n"


def test_command_whose_lines_cannot_be_shown_runs_to_its_end_and_then_is_an_error() -> None:
    def show(_: str) -> None:
        raise BrokenPipeError

    command = [sys.executable, "-c", "print('a line\\n' * 100_000)"]  # More than a pipe holds.
    with StopSignals() as stop, pytest.raises(BrokenPipeError):
        child.run(command, stop, show)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signal_is_passed_on_once_and_its_end_awaited(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS, WAITS], env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "[1/2] there\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=180)
    assert (process.returncode, out) == (42, "[1/2] SIGTERM\n")
    assert err == f"Error: Stopped by {number.name}. Start the same command again to go on.\n"


STAYS = """
import pathlib, signal, sys, time
from trainer.loop import child
def end(number, frame):
    pathlib.Path({path!r}).touch(); sys.exit(42)
signal.signal(signal.SIGTERM, end)
child.watch_for_orphanhood()
print("there")
time.sleep(60)
"""


def test_command_is_told_to_stop_once_who_started_it_was_killed(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with subprocess.Popen(
        [sys.executable, "-c", STARTS, STAYS.format(path=str(told))], env=environment(), text=True,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "[1/2] there\n"
        assert not told.exists()
        process.kill()
    end = time.monotonic() + 120
    while not told.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
