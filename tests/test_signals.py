"""What a signal does, in a process of its own: alone, twice, during long calls and while saving."""

import subprocess
import sys
import time

import pytest

from tests.support.miniature import environment

SCRIPT = """
import hashlib, os, signal, sys, threading, time
from cli import command
from trainer.loop import signals

signals.GRACE_SECONDS = {grace}
{started}

def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)

def long_call():
    '''A call during which no handler of Python's runs, as in TensorFlow's.'''
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

def main(arguments):
    with signals.StopSignals() as stop:
        {body}
    print("went on")

command.run(main)
"""
TERM, INT, USR1, HUP = (f"signal.SIG{name}" for name in ("TERM", "INT", "USR1", "HUP"))


def run(body: str, grace: float = 60.0, started: str = "") -> subprocess.CompletedProcess[str]:
    body = body.strip().replace("\n", "\n    ")
    code = SCRIPT.format(body=body, grace=grace, started=started)
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env=environment(), timeout=180, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("number", [TERM, INT, USR1, HUP])
def test_signal_ends_the_run_at_once_where_nothing_is_to_be_saved(number: str) -> None:
    done = run(f"send({number}); time.sleep(9)")
    assert (done.returncode, done.stdout) == (42, "")
    name = number.removeprefix("signal.")
    assert done.stderr == f"Error: Stopped by {name}. Start the same command again to go on.\n"


def test_order_that_follows_a_notice_does_not_disturb_the_end() -> None:
    """As on a spot machine, whose system shuts down while the last line is written."""
    done = run(
        f"""
    say = command._one_line
    command._one_line = lambda error: send({TERM}) or say(error)
    send({USR1})
"""
    )
    assert (done.returncode, done.stdout) == (42, "")
    assert done.stderr == "Error: Stopped by SIGUSR1. Start the same command again to go on.\n"


def test_signal_is_no_exception_that_a_library_handles() -> None:
    done = run(
        f"""
    try: send({TERM})
    except Exception: print("swallowed")
"""
    )
    assert (done.returncode, done.stdout) == (42, "")


def test_step_under_way_ends_before_the_run_does() -> None:
    done = run(
        f"""
    with stop.deferred():
        send({TERM})
        print("step done", stop.requested, stop.reason)
    print("next step")
"""
    )
    assert (done.returncode, done.stdout) == (42, "step done True SIGTERM\n")


@pytest.mark.parametrize("second", [TERM, INT])
def test_second_signal_ends_a_long_call_at_once(second: str) -> None:
    start = time.monotonic()
    done = run(f"with stop.deferred(): send({TERM}, {second}); long_call()", grace=600)
    assert done.returncode == 42
    assert "Stopped by a second signal." in done.stderr
    assert time.monotonic() - start < 60  # The start of Python included; the call takes longer.


def test_long_call_ends_with_the_grace() -> None:
    done = run(f"with stop.deferred(): send({TERM}); long_call()", grace=0.3)
    assert done.returncode == 42
    assert "Start the same command again" in done.stderr


@pytest.mark.parametrize("numbers", [(USR1, TERM), (TERM, HUP), (HUP, HUP), (HUP, TERM)])
def test_signal_beside_a_notice_is_not_the_second_one(numbers: tuple[str, str]) -> None:
    """While the checkpoint is being written a system that shuts down sends it, or an ending shell.

    That sends each hang-up that it gets to its children, which have it from the terminal too.
    """
    done = run(
        f"""
    with stop.deferred():
        send({", ".join(numbers)})
        time.sleep(0.3)
        print("saved")
"""
    )
    assert (done.returncode, done.stdout) == (42, "saved\n")


def test_end_of_the_grace_waits_for_a_checkpoint_under_way() -> None:
    done = run(
        f"""
    said = threading.Event()
    say = signals._say
    signals._say = lambda line: say(line) or said.set()
    with stop.deferred(), stop.saving:
        send({TERM})
        said.wait(60)
        print("saved", flush=True)
""",
        grace=0.2,
    )
    assert (done.returncode, done.stdout) == (42, "saved\n")
    assert "the checkpoint is still being written. A second signal ends the run" in done.stderr


def test_hang_up_that_nohup_ignores_does_not_end_the_run() -> None:
    code = f"send({HUP}); time.sleep(0.3); print('trained')"
    done = run(code, started="signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    assert (done.returncode, done.stdout) == (0, "trained\nwent on\n")


def test_second_signal_ends_the_run_though_nobody_reads_its_line() -> None:
    done = run(f"os.close(2)\nwith stop.deferred(): send({TERM}, {TERM}); long_call()")
    assert done.returncode == 42


def test_handlers_are_put_back() -> None:
    done = run("pass\nprint(signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL)")
    assert (done.returncode, done.stdout) == (0, "True\nwent on\n")
