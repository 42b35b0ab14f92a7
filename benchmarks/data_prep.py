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

import numpy as np
from absl import flags

from benchmarks import photographs
from cli import command, machine, paths

FLAGS = flags.FLAGS

paths.define("coco_dir", None, "A COCO folder with photographs.", required=True)
flags.DEFINE_integer("images", 4000, "Photographs of the larger folder.", lower_bound=8)
flags.DEFINE_integer("runs", 5, "Of which the medians are printed.", lower_bound=1)
flags.DEFINE_list("only", [], "Names of contestants, such as TFDS; unset: all.")

_LOOPS = ("simplejpeg", "OpenCV", "Pillow")
_OWN = "build's own"  # How the build shrinks is faster than any of them.
_BUILDS = ("build, 1 worker", "build, 2 workers")
_AS_THEY_ARE = "build, 2 workers, as they are"
_OTHERS = (_AS_THEY_ARE, "TFDS", "Model Garden")
_RATIOS = {
    "1 worker, of the bare loop's rate": ("best loop", "build, 1 worker, work"),
    "1 worker, start and end included": ("best loop", "build, 1 worker"),
    "1 worker, of the rate of a bare loop by the build's own way": (_OWN, "build, 1 worker, work"),
    "2 workers to 1": ("build, 1 worker, work", "build, 2 workers, work"),
    "2 workers to 1, start and end included": ("build, 1 worker", "build, 2 workers"),
    "TFDS to 1 worker": ("TFDS", "build, 1 worker"),
    "TFDS to 2 workers": ("TFDS", "build, 2 workers"),
    "Model Garden to 2 workers": ("Model Garden", "build, 2 workers"),
    "Model Garden to 2 workers, both storing photographs as they are": (
        "Model Garden", _AS_THEY_ARE,
    ),
}  # fmt: skip
_TIME = """
import os, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=True)
seconds = time.perf_counter() - start
print(done.stdout, file=sys.stderr)
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.stdout.split()[-1])
"""


class _Run(NamedTuple):
    """Seconds of the whole command, its largest process's peak memory, the last word it printed."""

    seconds: float
    megabytes: float
    last_word: str


def main(arguments: list[str]) -> None:
    """Prints the table."""
    command.refuse_arguments(arguments)
    with tempfile.TemporaryDirectory() as directory:
        many, few = Path(directory) / "many", Path(directory) / "few"
        photographs.repeat(Path(FLAGS.coco_dir), many, FLAGS.images)
        photographs.repeat(Path(FLAGS.coco_dir), few, FLAGS.images // 4)
        contestants: dict[str, Callable[[], _Run]] = {
            **{name: lambda name=name: _peer(name, many, pinned=True) for name in (*_LOOPS, _OWN)},  # type: ignore[misc]
            "build, 1 worker": lambda: _build(many, 1),
            "build, 1 worker, a quarter": lambda: _build(few, 1),
            "build, 2 workers": lambda: _build(many, 2),
            "build, 2 workers, a quarter": lambda: _build(few, 2),
            _AS_THEY_ARE: lambda: _build(many, 2, "--image_size=0"),
            "TFDS": lambda: _peer("TFDS", many),
            "Model Garden": lambda: _peer("Model Garden", many),
        }
        if unknown := [name for name in FLAGS.only if name not in contestants]:
            raise ValueError(f"No contestant is called so. Received: only={', '.join(unknown)}.")
        runs: dict[str, list[_Run]] = {name: [] for name in FLAGS.only or contestants}
        for _ in range(FLAGS.runs):
            for name in runs:
                runs[name].append(contestants[name]())
    _print(runs)


def _print(runs: dict[str, list[_Run]]) -> None:
    """Prints medians; a ratio is the median of those of each turn, which see the same machine."""
    seconds = {name: np.array([run.seconds for run in rs]) for name, rs in runs.items()}
    images, quarter = FLAGS.images, FLAGS.images // 4
    print(f"{images} photographs, {machine.cores()} cores, medians of {FLAGS.runs}")
    for name in [name for name in (*_LOOPS, _OWN) if name in runs]:
        seconds[name] = np.array([float(run.last_word) for run in runs[name]])  # Of the loop alone.
        print(f"bare loop, {name}: {np.median(images / seconds[name]):.0f} images/s")
    if loops := [seconds[name] for name in _LOOPS if name in runs]:
        seconds["best loop"] = np.min(loops, axis=0)
    for name in _OTHERS:
        if name in runs:
            print(f"{name}: {np.median(seconds[name]):.1f} s")
    for name in [name for name in _BUILDS if name in runs]:
        whole = seconds[name]
        print(f"{name}: {np.median(whole):.1f} s, {np.median(images / whole):.0f} images/s")
        if f"{name}, a quarter" not in runs:
            continue
        # What all photographs cost, apart from the start and the end of the command.
        work = (whole - seconds[f"{name}, a quarter"]) * images / (images - quarter)
        seconds[f"{name}, work"] = work
        few, many = (
            statistics.median(run.megabytes for run in runs[of])
            for of in (f"{name}, a quarter", name)
        )
        print(
            f"{name}: {np.median(images / work):.0f} images/s without the "
            f"{np.median(whole - work):.1f} s of start and end; {few:.0f} MB at most for "
            f"{quarter}, {many:.0f} MB for {images}"
        )
    for what, (one, other) in _RATIOS.items():
        if one in seconds and other in seconds:
            print(f"{what}: {np.median(seconds[one] / seconds[other]):.2f}")


def _peer(name: str, coco_dir: Path, *, pinned: bool = False) -> _Run:
    output = coco_dir.parent / "output"
    output.mkdir()
    module = [sys.executable, "-m", "benchmarks.peers", name, str(coco_dir), str(output)]
    return _measure(module, output, pinned=pinned)


def _build(coco_dir: Path, num_workers: int, *options: str) -> _Run:
    output = coco_dir.parent / "output"
    build_flags = ["--source=coco", f"--coco_dir={coco_dir}", f"--data_dir={output}"]
    module = [sys.executable, "-m", "data_prep.build", *build_flags]
    argv = [*module, f"--num_workers={num_workers}", *options]
    return _measure(argv, output, pinned=num_workers == 1)


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
    seconds, kibibytes, last_word = done.stdout.split()
    return _Run(float(seconds), float(kibibytes) * 1024 / 1e6, last_word)


if __name__ == "__main__":
    command.run(main)
