"""TensorFlow's start, without the lines that it prints whatever happens.

They come from C++, on file 2, where no Python logger has a say: on oneDNN, on the processor, and on
the GPU that is not there. TF_CPP_MIN_LOG_LEVEL=2 shows errors alone, its warnings being of how
datasets are built and ended. It is read too late for what libraries say as they are loaded; and
that a machine has no GPU they call an error. Last seen in TensorFlow 2.21.0. With --verbosity=1, or
TF_CPP_MIN_LOG_LEVEL=0, everything is shown.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from absl import logging

from cli import sieve

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # 1 keeps information back, 2 warnings too, 3 errors too.
_ERRORS = "2"
# Of libraries that have not been told where to log yet: this line, and any of information.
_ALWAYS = r"WARNING: All log messages before absl::InitializeLog|I\d{4} [\d:.]+ +\d+ \S+\.cc:\d+\] "
_NO_GPU = r"E\d{4} [\d:.]+ +\d+ \S+\.cc:\d+\] failed call to cuInit: "
_NVIDIA = ("nvidia*", "dxg")  # Linux's devices, and those of Windows' Linux.
_PATIENCE = 5.0  # Seconds, for the last lines to go through.


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides those lines while TensorFlow is imported and looks for GPUs; then all are shown again.

    Errors pass, a crash's last words too. Nothing is held back from the first process
    of a container, at whose end no other is left to show its last words.
    """
    if not _shows_everything():
        os.environ.setdefault(_LEVEL, _ERRORS)
    with hiding(dropped_lines(os.environ)):
        yield


@contextlib.contextmanager
def hiding(pattern: str) -> Iterator[None]:
    """Hides the lines on file 2 that begin so, as `quiet` does, whoever writes them."""
    with contextlib.ExitStack() as stack:
        if os.getpid() != 1 and not _shows_everything():
            with contextlib.suppress(OSError):  # No more processes: then all is shown.
                stack.enter_context(_sifted(pattern))
        yield


def _shows_everything() -> bool:
    return logging.get_verbosity() >= logging.DEBUG or os.environ.get(_LEVEL) == "0"


def dropped_lines(environ: Mapping[str, str], devices: Path = Path("/dev")) -> str:
    """Returns the pattern of what need not be shown; without a GPU's driver, that there is none."""
    return _ALWAYS if has_gpu(environ, devices) else f"{_ALWAYS}|{_NO_GPU}"


def has_gpu(environ: Mapping[str, str], devices: Path = Path("/dev")) -> bool:
    """Whether an NVIDIA driver is here, and its GPUs are not hidden on purpose."""
    hidden = environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(found for name in _NVIDIA for found in devices.glob(name))


def warn_of_unused_gpu(num_seen: int) -> None:
    """Says so where TensorFlow cannot use a GPU that is here: it says it as a warning of its own.

    Args:
        num_seen: GPUs that TensorFlow sees.
    """
    if not num_seen and has_gpu(os.environ):
        logging.warning(
            "An NVIDIA driver is here, and TensorFlow sees no GPU: the CPU computes. Start with "
            "--verbosity=1 to read why."
        )


@contextlib.contextmanager
def _sifted(pattern: str) -> Iterator[None]:
    """Sends what goes to file 2 through a process that leaves lines out."""
    before = os.dup(2)
    process, way_in = _start_sieve(pattern)
    try:
        sys.stderr.flush()
        os.dup2(way_in, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        os.close(way_in)
        with contextlib.suppress(subprocess.TimeoutExpired):  # Another process holds it open.
            process.wait(_PATIENCE)


def _start_sieve(pattern: str) -> tuple[subprocess.Popen[bytes], int]:
    """Returns the process, and where what it shall sift goes in.

    It starts deaf to all signals and stays so, whomever they are sent to: its input's end ends it.
    """
    way_out, way_in = os.pipe()
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        command = [sys.executable, "-I", "-S", str(sieve.__file__), pattern]
        return subprocess.Popen(command, stdin=way_out, stdout=subprocess.DEVNULL), way_in
    except OSError:
        os.close(way_in)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
        os.close(way_out)
