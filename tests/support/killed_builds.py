"""Kills builds of drawn animals with -9 at random moments, and compares what they end as."""

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from tests.support import miniature
from tfrecords import naming
from tfrecords.manifest import read_manifest

# What must be there for a phase to have begun, how many seconds of it a kill may fall into, and how
# often it is drawn: most where most is written.
PHASES = {
    "start": ("", 0.4, 1),
    "draw": ("synthetic_coco/*/*.jpg", 2.0, 1),
    "read": ("synthetic_coco/annotations/instances_val2017.json", 0.3, 1),
    "shards": (naming.SHARD_GLOB, 0.3, 4),
    "commit": (naming.REJECTED, 0.8, 1),
}


@dataclasses.dataclass(frozen=True)
class Kill:
    """When a build ends: so many seconds into a phase, alone or with its workers."""

    phase: str
    seconds: float
    with_workers: bool
    num_workers: int


def survive(
    data_dir: Path, images: int, most: int, draws: random.Random, workers: Sequence[int]
) -> Iterator[Kill]:
    """Starts a build again and again, kills it at most so many times, then leaves it to end."""
    for _ in range(most):
        [phase] = draws.choices(list(PHASES), [weight for _, _, weight in PHASES.values()])
        seconds = draws.uniform(0, PHASES[phase][1])
        kill = Kill(phase, round(seconds, 3), draws.random() < 0.5, draws.choice(workers))
        if strike(kill, data_dir, images):
            yield kill
    finish(data_dir, images, draws.choice(workers))


def finish(data_dir: Path, images: int, num_workers: int) -> None:
    """Builds to the end.

    Raises:
        RuntimeError: if the build fails.
    """
    done = subprocess.run(
        _command(data_dir, images, num_workers), capture_output=True, text=True,
        env=miniature.environment(), check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"The build did not go on: {done.stderr}")


def compare(whole: Path, resumed: Path) -> list[str]:
    """Returns the names of the files that differ, or that one of the two has alone.

    The options in the manifest say where the dataset lies and how many workers made it, so they are
    left out; so are the locks.
    """
    names = {path.relative_to(root).as_posix()
             for root in (whole, resumed) for path in root.rglob("*")
             if path.is_file() and path.suffix != ".lock"}  # fmt: skip
    return sorted(name for name in names if _content(whole / name) != _content(resumed / name))


def _content(path: Path) -> object:
    if path.name == naming.MANIFEST and path.exists():
        return msgspec.structs.replace(read_manifest(path.parent), options={})
    return path.read_bytes() if path.exists() else None


def _command(data_dir: Path, images: int, num_workers: int) -> list[str]:
    return [
        *(sys.executable, "-m", "data_prep.build", "--source=synthetic", f"--data_dir={data_dir}"),
        *(f"--synthetic_images={images}", f"--num_workers={num_workers}"),
    ]


def strike(kill: Kill, data_dir: Path, images: int) -> bool:
    """Starts the build and kills it; False where it ended before its moment came."""
    begun, _, _ = PHASES[kill.phase]
    before = {path: path.stat().st_mtime_ns for path in data_dir.glob(begun or "*")}
    with subprocess.Popen(
        _command(data_dir, images, kill.num_workers), env=miniature.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    ) as process:  # fmt: skip
        while begun and process.poll() is None and not _is_new(data_dir, begun, before):
            time.sleep(0.001)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(kill.seconds)
            return False
        if kill.with_workers:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    return True


def _is_new(data_dir: Path, pattern: str, before: dict[Path, int]) -> bool:
    """Whether a file was written since the build started."""
    for path in data_dir.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime_ns != before.get(path):
                return True
    return False
