"""Every command ends with an exit code that says what happened, and one line for a person."""

import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from buckets.store import Store
from cli import __version__, command
from tests.support.miniature import environment

SCRIPT = """
import dataclasses

from absl import flags

from cli import command

flags.DEFINE_integer("count", 1, "How many.", lower_bound=1)
flags.DEFINE_list("names", [], "Of what.")
{flags}


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


def run(
    tmp_path: Path, body: str, *flags: str, defined: str = ""
) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("{body}", body).replace("{flags}", defined))
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
    "no flagfile": ("", ("--flagfile=/nowhere",), 2, "Error: Unable to open flagfile: "),
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


@pytest.mark.parametrize("help_flag", ["-h", "-help", "--helpshort"])
def test_help_has_other_names(help_flag: str, tmp_path: Path) -> None:
    assert run(tmp_path, "", help_flag).stdout == run(tmp_path, "", "--help").stdout


def test_help_says_what_is_needed_first_and_shows_flags_of_libraries_only_in_full(
    tmp_path: Path,
) -> None:
    needed = 'flags.DEFINE_string("zoo", None, "Whose.", required=True)'
    short = run(tmp_path, "", "--help", defined=needed).stdout
    places = [short.index(text) for text in ("script.py --zoo=ZOO [FLAGS]", "\n  --zoo: Whose.",
              "\n  --count: How many. (a positive integer; default: 1)", "\n  --names: Of what.",
              "\n  --flagfile: ")]  # fmt: skip
    assert places == sorted(places)
    assert "--profile_file" not in short
    full = run(tmp_path, "", "--helpfull", defined=needed).stdout
    assert full.startswith(short.rstrip())
    assert "\n  --profile_file: " in full


def test_version_is_the_projects(tmp_path: Path) -> None:
    done = run(tmp_path, "raise ValueError", "--version")
    assert (done.returncode, done.stdout) == (0, f"coco-animals {__version__}\n")


def test_all_flags_that_are_missing_are_named_at_once(tmp_path: Path) -> None:
    needed = "\n".join(
        f'flags.DEFINE_string("{name}", None, "", required=True)' for name in ("zoo", "keeper")
    )
    done = run(tmp_path, "", "--count=2", defined=needed)
    assert (done.returncode, done.stderr) == (
        2,
        "Error: --zoo and --keeper must be given. Received: --count=2. Start it as "
        "`script.py --zoo=ZOO --keeper=KEEPER [FLAGS]`. Pass --help to see the flags.\n",
    )
    # What else is wrong comes first: it was given.
    assert "--count=two" in run(tmp_path, "", "--count=two", defined=needed).stderr


@pytest.mark.parametrize(
    "content",
    [
        b"# Of the demo.\n--count=5\n--names=\xc3\xa4\n",
        b"\xef\xbb\xbf# Of the demo.\r\n--count=5\r\n\r\n--names=\xc3\xa4\r\n",
        b"\xef\xbb\xbf--count=5\n--names=\xc3\xa4",
    ],
)
def test_flags_may_stand_in_a_file_of_any_editor(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.flags").write_bytes(content)
    done = run(tmp_path, "", f"--flagfile={tmp_path / 'run.flags'}", "--count=6")
    assert done.stdout == "Config(count=6, names=('\xe4',))\n"


def test_flagfile_of_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.flags").write_bytes(b"--names=\xe4\n")
    done = run(tmp_path, "", f"--flagfile={tmp_path / 'run.flags'}")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: A flagfile must be UTF-8 text. Received: ")


def test_hang_up_stops_a_command_as_sigterm_does(tmp_path: Path) -> None:
    hang_up = "import os, signal, time; os.kill(os.getpid(), signal.SIGHUP); time.sleep(9)"
    heard = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # Whoever runs the tests.
    done = run(tmp_path, hang_up, defined=heard)
    assert done.returncode == 42
    assert done.stderr.startswith("Error: Interrupted.")


def test_command_behind_nohup_does_not_hear_a_hang_up(tmp_path: Path) -> None:
    hang_up = "import os, signal, time; os.kill(os.getpid(), signal.SIGHUP); print('done')"
    ignored = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"  # As nohup does.
    done = run(tmp_path, hang_up, defined=ignored)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "done")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
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


FLAGFILE = "memory://bucket/search/best.flags"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["--a=1", f"--flagfile={FLAGFILE}", "--c"], ["--a=1", "--count=2", "--c"]),
        (["--flagfile", FLAGFILE, f"-flagfile={FLAGFILE}"], ["--count=2", "--count=2"]),
        (["--", f"--flagfile={FLAGFILE}"], ["--", f"--flagfile={FLAGFILE}"]),
        ([f"--title={FLAGFILE}"], [f"--title={FLAGFILE}"]),
    ],
)
def test_flagfile_comes_from_a_bucket(
    given: list[str], read: list[str], memory_bucket: str
) -> None:
    Store(f"{memory_bucket}/search").write("best.flags", "# Words, ü.\n--count=2\n".encode())
    assert command.read_flagfiles(flags.FlagValues(), given) == read


def test_flagfile_that_is_not_in_the_bucket_is_refused(memory_bucket: str) -> None:
    with pytest.raises(flags.Error, match=f"no such flagfile. Received: {memory_bucket}/no.flags"):
        command.read_flagfiles(flags.FlagValues(), [f"--flagfile={memory_bucket}/no.flags"])


def test_bucket_of_a_flagfile_that_fails_is_no_wrong_flag(tmp_path: Path) -> None:
    defined = (
        "from buckets import store\n"
        "from buckets.failures import BucketError\n"
        "def fail(*_, **__): raise BucketError('The bucket is gone.')\n"
        "store.Store.check = fail\n"
    )
    done = run(tmp_path, "pass", "--flagfile=memory://b/x.flags", defined=defined)
    assert (done.returncode, done.stderr) == (1, "Error: The bucket is gone.\n")
