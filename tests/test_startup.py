"""TensorFlow's start says nothing to a user who did not ask, and all that matters all the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli import startup
from tests.support.miniature import REPOSITORY, environment

HEADER = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"
ONEDNN = "I0000 00:00:1795774720.156794   12627 port.cc:153] oneDNN custom operations are on."
CUDA = "I0000 00:00:1795774720.157322   12627 cudart_stub.cc:31] Could not find cuda drivers."
CUINIT = (
    "E0000 00:00:1795774729.417920   12627 cuda_platform.cc:52] failed call to cuInit: INTERNAL: "
    "CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)"
)
AVX = "F0000 00:00:1795774720.210369   12627 cpu_feature_guard.cc:33] needs AVX instructions."
WARNING = "W0000 00:00:1795774720.210369   12627 gpu_device.cc:2342] Cannot dlopen some libraries."
ERROR = "E0000 00:00:1795774720.210369   12627 cuda_dnn.cc:9] Could not load library libcudnn."
OWN = "W1127 10:35:34.545349 139677097319296 weights.py:62] --weights=none: RANDOM numbers."


@pytest.mark.parametrize(
    ("line", "without_gpu", "with_gpu"),
    [
        (HEADER, False, False),
        (ONEDNN, False, False),
        (CUDA, False, False),
        (CUINIT, False, True),  # With a driver it is an error.
        (AVX, True, True),
        (WARNING, True, True),
        (ERROR, True, True),
        (OWN, True, True),
        ("I see a cat.", True, True),
        ("Traceback (most recent call last):", True, True),
    ],
)
def test_line_is_shown(line: str, without_gpu: bool, with_gpu: bool, tmp_path: Path) -> None:
    assert (not re.match(startup.dropped_lines({}, tmp_path), line)) == without_gpu
    (tmp_path / "nvidiactl").touch()
    assert (not re.match(startup.dropped_lines({}, tmp_path), line)) == with_gpu
    for hidden in ("", "-1"):
        pattern = startup.dropped_lines({"CUDA_VISIBLE_DEVICES": hidden}, tmp_path)
        assert (not re.match(pattern, line)) == without_gpu


SCRIPT = """
import os, signal, subprocess, sys, time
from absl import app, logging
from cli import startup

def say(line):
    os.write(2, line.encode() + b"\\n")

def main(argv):
    with startup.quiet():
        say({onednn!r}); print("from Python", file=sys.stderr); say({avx!r})
        os.write(2, b"a line's beginning")
        {body}
    say({onednn!r})

app.run(main)
"""
SIFTED = f"from Python\n{AVX}\na line's beginning"


def run(body: str = "", *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    code = SCRIPT.format(onednn=ONEDNN, avx=AVX, body=body)
    environ = {**environment(), **variables}
    if "TF_CPP_MIN_LOG_LEVEL" not in variables:
        del environ["TF_CPP_MIN_LOG_LEVEL"]
    return subprocess.run(
        [sys.executable, "-c", code, *flags],
        capture_output=True, text=True, env=environ, timeout=180, check=False,
    )  # fmt: skip


def test_lines_are_left_out_inside_alone() -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, f"{SIFTED}{ONEDNN}\n")


@pytest.mark.parametrize(
    ("flags", "variables"),
    [(["--verbosity=1"], {}), ([], {"TF_CPP_MIN_LOG_LEVEL": "0"}), (["--verbosity=2"], {})],
)
def test_all_is_shown_to_whom_asks(flags: list[str], variables: dict[str, str]) -> None:
    done = run("", *flags, **variables)
    assert (done.returncode, done.stderr) == (0, f"{ONEDNN}\n{SIFTED}{ONEDNN}\n")


@pytest.mark.parametrize(
    ("variables", "level"), [({}, "2"), ({"TF_CPP_MIN_LOG_LEVEL": "3"}, "3")]
)  # fmt: skip
def test_level_is_set_unless_the_user_has(variables: dict[str, str], level: str) -> None:
    done = run("print(os.environ['TF_CPP_MIN_LOG_LEVEL'])", **variables)
    assert done.stdout.strip() == level


ENDS = {
    "os.abort()": -6,
    "os.kill(os.getpid(), signal.SIGSEGV)": -11,
    "os.kill(os.getpid(), signal.SIGKILL)": -9,
    "os.kill(os.getpid(), signal.SIGTERM)": -15,
    "os._exit(42)": 42,
    "sys.exit(3)": 3,
    "raise ImportError": 1,
}


@pytest.mark.parametrize("end", ENDS)
def test_last_words_are_shown_however_it_ends(end: str) -> None:
    done = run(end)
    assert done.returncode == ENDS[end]
    assert done.stderr.startswith(SIFTED)
    assert ONEDNN not in done.stderr
    assert ("ImportError" in done.stderr) == (end == "raise ImportError")


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_signal_to_the_whole_group_loses_no_line(number: str) -> None:
    handled = f"signal.signal(signal.{number}, lambda *_: None)"
    done = run(f"{handled}; os.setpgrp(); os.killpg(0, signal.{number}); say('after it')")
    assert (done.returncode, done.stderr) == (0, f"{SIFTED}after it\n{ONEDNN}\n")


def test_process_that_cannot_start_leaves_all_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with startup.quiet():
        pass


def test_child_that_lives_on_holds_nothing_up() -> None:
    child = "subprocess.Popen(['sleep', '120'], stdout=subprocess.DEVNULL)"
    patient = "import atexit; startup._PATIENCE = 0.1"
    # What is registered last is called first.
    at_the_end = "atexit.register(child.kill); atexit.register(lambda: print(child.poll()))"
    done = run(f"{patient}; child = {child}; {at_the_end}")
    assert done.stdout == "None\n"
    assert sorted(done.stderr.replace(ONEDNN, "").split()) == sorted(SIFTED.split())


def test_gpu_that_tensorflow_cannot_use_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(startup, "has_gpu", lambda _: True)
    startup.warn_of_unused_gpu(1)
    assert not caplog.text
    startup.warn_of_unused_gpu(0)
    assert "TensorFlow sees no GPU: the CPU computes" in caplog.text


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("trained") / "run"
    assert said(*training(dataset, workdir)) == OF_TRAINING
    return workdir


OF_TRAINING = "--weights=none: The miniature starts from RANDOM numbers and will hardly learn.\n"


def training(dataset: Path, workdir: Path) -> list[str]:
    script = str(REPOSITORY / "tests" / "support" / "miniature.py")
    flags = ("--weights=none", "--num_gpus=0", "--epochs=1", "--batch_size=8")
    return [script, f"--data_dir={dataset}", f"--workdir={workdir}", *flags]


def said(*arguments: str) -> str:
    """What a real command says on stderr, without the times and places of its own lines."""
    environ = environment()
    del environ["TF_CPP_MIN_LOG_LEVEL"]
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environ, check=False
    )
    assert done.returncode == 0, done.stderr
    return re.sub(r"^W\d{4} [\d:.]+ +\d+ weights\.py:\d+\] ", "", done.stderr, flags=re.MULTILINE)


def test_training_says_nothing_of_tensorflows_start_unless_asked(
    trained: Path, dataset: Path, tmp_path: Path
) -> None:
    everything = said(*training(dataset, tmp_path), "--verbosity=1")
    assert HEADER in everything
    assert "port.cc" in everything or "cpu_feature_guard.cc" in everything


def test_evaluation_and_prediction_say_nothing_of_it_either(trained: Path, dataset: Path) -> None:
    photograph = str(min((dataset / "synthetic_coco" / "val2017").glob("*.jpg")))
    predict = ("-m", "trainer.predict", f"--workdir={trained}", photograph)
    assert said(*predict) == "Loading TensorFlow and the model ...\n"
    evaluate = ("-m", "trainer.evaluate", f"--workdir={trained}", f"--data_dir={dataset}")
    assert ".cc:" not in said(*evaluate)
    assert HEADER in said(*evaluate, "--name=again", "--verbosity=1")


def test_build_says_nothing_of_it_either(tmp_path: Path) -> None:
    flags = ("--source=synthetic", "--synthetic_images=20", f"--data_dir={tmp_path}")
    assert said("-m", "data_prep.build", *flags) == ""
