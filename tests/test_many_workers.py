"""Runs of the miniature in several processes, as on several machines, over the loopback device."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from tests.support import doomed, miniature, warm
from tests.support.ports import free_ports
from tests.test_train import figures_of, weights_of

# 41 training examples in one shard, and batches of 12: rows of a batch for two workers and three.
Doom = tuple[int, signal.Signals]
RECIPE = (
    "--batch_size=12", "--epochs=3", "--learning_rate=0.05", "--deterministic", "--augment=full",
    "--mixup=0.4", "--cutmix=1",
)  # fmt: skip
# As a company or a cluster sets it; nothing listens there. What workers say must not go that way.
BEHIND_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://127.0.0.1:9")


def script(doom: Doom | None) -> tuple[str, ...]:
    if doom is None:
        return (miniature.__file__,)
    nth, number = doom
    return (doomed.__file__, "train", str(nth), "0", str(int(number)))


@contextlib.contextmanager
def started(
    count: int,
    *flags: str | Sequence[str],
    doom: dict[int, Doom] = MappingProxyType({}),
    command: Sequence[str] = (),
    start: warm.Start = warm.up,
) -> Iterator[list[subprocess.Popen[str]]]:
    """Workers, each with the flags; a sequence holds a flag for each worker in turn.

    A worker that is doomed sends itself the signal, at the nth end of a step. A command takes the
    place of the training run.
    """
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    workers = []
    for rank in range(count):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        workers.append(
            subprocess.Popen(
                start(
                    command
                    or miniature.command(
                        *(f if isinstance(f, str) else f[rank] for f in flags),
                        script=script(doom.get(rank)),
                    )
                ),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env={**miniature.environment(), **BEHIND_PROXY, "TF_CONFIG": json.dumps(config)},
            )
        )  # fmt: skip
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def ends(workers: list[subprocess.Popen[str]], timeout: float = 600) -> list[tuple[int, str, str]]:
    """Waits for all; returns their exit codes, stdout and stderr."""
    outputs = [worker.communicate(timeout=timeout) for worker in workers]
    return [(w.returncode, *output) for w, output in zip(workers, outputs, strict=True)]


def error_line(stderr: str) -> str:
    [line] = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    return line


@pytest.fixture(scope="module")
def alone(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("alone")
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={workdir}", *RECIPE)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.mark.parametrize("count", [2, 3])
def test_workers_end_at_the_weights_and_figures_of_one_process(
    count: int, alone: Path, dataset: Path, tmp_path: Path
) -> None:
    with started(count, f"--data_dir={dataset}", f"--workdir={tmp_path}", *RECIPE) as workers:
        finished = ends(workers)
    assert [code for code, *_ in finished] == [0] * count, finished
    for one, several in zip(weights_of(alone), weights_of(tmp_path), strict=True):
        np.testing.assert_array_equal(several, one)
    assert figures_of(alone) == figures_of(tmp_path)
    metrics = [json.loads((w / "metrics.json").read_text()) for w in (alone, tmp_path)]
    assert metrics[0]["confusion_matrix"] == metrics[1]["confusion_matrix"]
    # The chief alone writes, and speaks.
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in alone.iterdir()}
    assert len(list(tmp_path.glob("tensorboard/train/*.v2"))) == 1
    assert "Accuracy" in finished[0][1]
    assert not any(stdout for _, stdout, _ in finished[1:])


def test_run_that_loses_workers_again_and_again_ends_at_the_same_bits(
    alone: Path, dataset: Path, tmp_path: Path
) -> None:
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}", "--checkpoint_every=1", *RECIPE)
    for lost, number in ((1, signal.SIGKILL), (0, signal.SIGSTOP)):
        with started(2, *flags, doom={lost: (3, number)}, start=warm.cold) as workers:
            os.waitpid(workers[lost].pid, os.WUNTRACED)  # It is killed, or stopped.
            start = time.monotonic()
            [(code, _, stderr)] = ends([workers[1 - lost]])
            assert time.monotonic() - start < 60
        assert code == 1, stderr
        assert "A worker was lost" in error_line(stderr)

    # A signal to one: all stop at the same step.
    with started(2, *flags, doom={1: (2, signal.SIGTERM)}) as workers:
        finished = ends(workers)
    assert [code for code, *_ in finished] == [42, 42], finished
    lines = [error_line(stderr) for *_, stderr in finished]
    assert "SIGTERM" in lines[1]
    assert "a signal to another worker" in lines[0]
    [step, other] = [line.partition("checkpoint of step ")[2].split()[0] for line in lines]
    assert step == other
    assert max(tmp_path.glob("checkpoints/*.npz")).stem == f"step-{int(step):08d}"

    # One process goes on where two were.
    done = miniature.train(*flags)
    assert f"starting at step {step}" in done.stdout, done.stderr
    for whole, resumed in zip(weights_of(alone), weights_of(tmp_path), strict=True):
        np.testing.assert_array_equal(resumed, whole)
    assert figures_of(tmp_path) == figures_of(alone)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        # A file system that they do not share: the second starts from nothing.
        (("--workdir={0}/run", "--workdir={0}/empty"), "different steps"),
        (("--seed=0", "--seed=1"), "different settings"),
    ],
)
def test_workers_that_start_otherwise_are_refused(
    flags: tuple[str, str], says: str, alone: Path, dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    newest = max((alone / "checkpoints").iterdir())
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / newest.name).write_bytes(newest.read_bytes())
    other = [flag.format(tmp_path) for flag in flags]
    both = (f"--data_dir={dataset}", f"--workdir={tmp_path}/new", *RECIPE, other)
    with started(2, *both) as workers:
        for end in ends(workers):
            assert end[0] == 1, end
            assert says in error_line(end[2])
    assert {path.name for path in tmp_path.iterdir()} == {"run"}  # Nothing was written.
