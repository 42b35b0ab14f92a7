"""Compares the build with a bare loop, TFDS's own builder and TF Model Garden's way.

python -m benchmarks.data_prep --coco_dir=COCO

On COCO-sized photographs made of those of `--coco_dir`; every contestant runs in a process of its
own, and all in turn, so that a busy moment hits them alike.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from absl import flags

from benchmarks import photographs
from cli import command
from data_prep import runners

FLAGS = flags.FLAGS

flags.DEFINE_string("coco_dir", None, "A COCO folder with photographs.", required=True)
flags.DEFINE_integer("images", 4000, "Photographs of the larger folder.", lower_bound=8)
flags.DEFINE_integer("runs", 5, "Of which the medians are printed.", lower_bound=1)

_LOOPS = ("simplejpeg", "OpenCV", "Pillow")
_TIME = """
import os, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=True)
seconds = time.perf_counter() - start
print(done.stdout, file=sys.stderr)
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.stdout.split()[-1])
"""


class _Run(NamedTuple):
    """Seconds of the whole command, its largest process's peak memory, the last word it said."""

    seconds: float
    megabytes: float
    said: str


def main(arguments: list[str]) -> None:
    """Prints the table."""
    command.refuse_arguments(arguments)
    with tempfile.TemporaryDirectory() as directory:
        many, few = Path(directory) / "many", Path(directory) / "few"
        photographs.repeat(Path(FLAGS.coco_dir), many, FLAGS.images)
        photographs.repeat(Path(FLAGS.coco_dir), few, FLAGS.images // 4)
        contestants: dict[str, Callable[[], _Run]] = {
            **{name: lambda name=name: _peer(name, many, pinned=True) for name in _LOOPS},  # type: ignore[misc]
            "build, 1 worker": lambda: _build(many, 1),
            "build, 1 worker, a quarter": lambda: _build(few, 1),
            "build, 2 workers": lambda: _build(many, 2),
            "build, 2 workers, a quarter": lambda: _build(few, 2),
            "TFDS": lambda: _peer("TFDS", many),
            "Model Garden": lambda: _peer("Model Garden", many),
        }
        runs: dict[str, list[_Run]] = {name: [] for name in contestants}
        for _ in range(FLAGS.runs):
            for name, run in contestants.items():
                runs[name].append(run())
    _print(runs)


def _print(runs: dict[str, list[_Run]]) -> None:
    seconds = {name: statistics.median(r.seconds for r in rs) for name, rs in runs.items()}
    memory = {name: statistics.median(r.megabytes for r in rs) for name, rs in runs.items()}
    loops = {name: statistics.median(float(r.said) for r in runs[name]) for name in _LOOPS}
    best = min(loops, key=lambda name: loops[name])
    images, quarter = FLAGS.images, FLAGS.images // 4
    # What a photograph costs, apart from the start and the end of the command.
    each = {
        workers: (seconds[f"build, {workers}"] - seconds[f"build, {workers}, a quarter"])
        / (images - quarter)
        for workers in ("1 worker", "2 workers")
    }
    print(f"{images} photographs, {runners.default_num_workers()} cores, medians of {FLAGS.runs}")
    for name, loop in loops.items():
        print(f"bare loop, {name}: {images / loop:.0f} images/s")
    for workers, cost in each.items():
        whole = seconds[f"build, {workers}"]
        print(
            f"build, {workers}: {whole:.1f} s, {images / whole:.0f} images/s; {1 / cost:.0f} "
            f"images/s without the {whole - images * cost:.1f} s of start and end"
        )
    print(f"TFDS's builder: {seconds['TFDS']:.1f} s; Model Garden: {seconds['Model Garden']:.1f} s")
    ours, both = seconds["build, 1 worker"], seconds["build, 2 workers"]
    print(f"1 worker, of the bare loop's rate: {loops[best] / images / each['1 worker']:.0%}, "
          f"start and end included {loops[best] / ours:.0%}")  # fmt: skip
    print(f"2 workers to 1: {each['1 worker'] / each['2 workers']:.2f}, "
          f"start and end included {ours / both:.2f}")  # fmt: skip
    print(f"TFDS to 1 worker: {seconds['TFDS'] / ours:.2f}, to 2: {seconds['TFDS'] / both:.2f}")
    print(f"Model Garden to 2 workers: {seconds['Model Garden'] / both:.2f}")
    for name in ("build, 1 worker", "build, 2 workers"):
        print(f"{name}: {memory[f'{name}, a quarter']:.0f} MB at most for {quarter}, "
              f"{memory[name]:.0f} MB for {images}")  # fmt: skip


def _peer(name: str, coco_dir: Path, *, pinned: bool = False) -> _Run:
    output = coco_dir.parent / "output"
    output.mkdir()
    module = [sys.executable, "-m", "benchmarks.peers", name, str(coco_dir), str(output)]
    return _measure(module, output, pinned=pinned)


def _build(coco_dir: Path, num_workers: int) -> _Run:
    output = coco_dir.parent / "output"
    flags_of_build = ["--source=coco", f"--coco_dir={coco_dir}", f"--data_dir={output}"]
    module = [sys.executable, "-m", "data_prep.build", *flags_of_build]
    return _measure([*module, f"--num_workers={num_workers}"], output, pinned=num_workers == 1)


def _measure(argv: list[str], output: Path, *, pinned: bool) -> _Run:
    """Runs a command, on one core if pinned, and removes what it wrote."""
    cores = sorted(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", _TIME, *argv],
        capture_output=True, text=True, check=False,
        preexec_fn=(lambda: os.sched_setaffinity(0, cores[:1])) if pinned else None,
    )  # fmt: skip
    shutil.rmtree(output, ignore_errors=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} failed: {done.stderr}")
    seconds, kibibytes, said = done.stdout.split()
    return _Run(float(seconds), float(kibibytes) * 1024 / 1e6, said)


if __name__ == "__main__":
    command.run(main)
