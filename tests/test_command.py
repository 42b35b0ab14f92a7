"""Every command ends with an exit code that says what happened, and one line for a person."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.miniature import environment

SCRIPT = """
import dataclasses

from absl import flags

from cli import command

flags.DEFINE_integer("count", 1, "How many.", lower_bound=1)
flags.DEFINE_list("names", [], "Of what.")


@dataclasses.dataclass(frozen=True)
class Config:
    count: int
    names: tuple[str, ...]

    def __post_init__(self):
        if self.count == 13:
            raise ValueError("count must not be 13. Received: count=13.")


def main(arguments):
    command.refuse_arguments(arguments)
    config = command.config_from_flags(Config)
    print(config)
    {body}


command.run(main)
"""


def run(tmp_path: Path, body: str, *flags: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("{body}", body))
    return subprocess.run(
        [sys.executable, str(script), *flags],
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip


FAILURES = {
    # A message for a person stands alone, on one line; other errors also say their type.
    "phrased": ("raise ValueError('Too\\n  many.')", (), 1, "Error: Too many."),
    "phrased, several": ("raise RuntimeError('No room.')", (), 1, "Error: No room."),
    "not phrased": ("{}['key']", (), 1, "Error: KeyError: 'key' Run it again with --verbosity=1"),
    "no message": ("raise ValueError", (), 1, "Error: ValueError:  Run it again"),
    "file": ("open('/nowhere')", (), 1, "No such file or directory: '/nowhere'"),
    "disk full": ("raise OSError(28, 'No space left on device', '/x')", (), 1,
                  "No space left on device: '/x'. Make room and start the same command again"),
    # Flags, whether wrong alone or together.
    "unknown flag": ("", ("--cuont=2",), 2, "Unknown command line flag 'cuont'"),
    "wrong type": ("", ("--count=two",), 2, "--count=two"),
    "out of range": ("", ("--count=0",), 2, "--count=0"),
    "refused by the config": ("", ("--count=13",), 2, "Error: count must not be 13. Received"),
    "stray argument": ("", ("--count=2", "stray"), 2, "Received: stray"),
    # Asked to stop: the same command goes on.
    "preempted": ("raise command.PreemptedError('Stopped at step 8.')", (), 42,
                  "Error: Stopped at step 8."),
    "interrupted": ("raise KeyboardInterrupt", (), 42, "start the same command again"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_failure_ends_with_its_exit_code_and_one_line(name: str, tmp_path: Path) -> None:
    body, flags, code, says = FAILURES[name]
    done = run(tmp_path, body, *flags)
    assert done.returncode == code, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert says in line


def test_success_is_silent_on_stderr_and_fills_the_config(tmp_path: Path) -> None:
    done = run(tmp_path, "", "--count=3", "--names=a,b")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Config(count=3, names=('a', 'b'))\n"


def test_traceback_shows_only_when_asked_for(tmp_path: Path) -> None:
    done = run(tmp_path, "raise ValueError('Too many.')", "--verbosity=1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "script.py" in done.stderr
    assert done.stderr.splitlines()[-1] == "Error: Too many."


def test_help_exits_with_0_and_runs_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "raise ValueError", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--count: How many." in done.stdout


def test_flags_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "run.flags").write_text("# Of the demo.\n--count=5\n")
    done = run(tmp_path, "", f"--flagfile={tmp_path / 'run.flags'}", "--names=a")
    assert done.stdout == "Config(count=5, names=('a',))\n"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_signal_that_comes_as_python_ends_does_not_change_the_exit_code(
    number: str, tmp_path: Path
) -> None:
    # What lies in sys is taken down after Python has put the system's handlers back.
    done = run(
        tmp_path,
        f"""import os, signal, sys
    class Late:
        def __del__(self, kill=os.kill, process=os.getpid(), number=signal.{number}):
            kill(process, number)
    sys.late = Late()
    raise command.PreemptedError("Stopped.")""",
    )
    assert (done.returncode, done.stderr) == (42, "Error: Stopped.\n")
