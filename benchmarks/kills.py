"""Stops runs of the miniature at random moments, and compares what they end as, bit for bit.

python -m benchmarks.kills --data_dir=D --kills=30
"""

import collections
import csv
import dataclasses
import random
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from cli import command
from tests import doomed, miniature

FLAGS = flags.FLAGS

flags.DEFINE_string("data_dir", None, "What data_prep.build made.", required=True)
flags.DEFINE_integer("kills", 30, "How many in all.", lower_bound=1)
flags.DEFINE_integer("kills_a_run", 6, "At most, before a run is left to end.", lower_bound=1)
flags.DEFINE_multi_integer("replicas", [1], "Numbers of replicas, drawn from at each start.")
flags.DEFINE_integer("seed", 0, "Of the moments.")

RECIPE = (
    "--batch_size=8", "--epochs=3", "--learning_rate=0.05", "--deterministic",
    "--learning_rate_schedule=cosine", "--warmup_epochs=1", "--early_stopping_patience=2",
    "--checkpoint_every=2",
)  # fmt: skip

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# How often a phase comes in a run at least, and how many seconds of it a signal may fall into. The
# first moments of a process are Python's own: its start, before any line of this project.
PHASES = {
    "import": (1, (0.3, 4.0)),
    "build": (1, (0.0, 0.4)),
    "trace": (1, (0.0, 1.0)),
    "train": (9, (0.0, 0.02)),
    "checkpoint": (6, (0.0, 0.01)),
    "evaluate": (2, (0.0, 0.2)),
    "report": (1, (0.0, 0.6)),
}


@dataclasses.dataclass(frozen=True)
class Kill:
    """A signal that is to end a process: when it comes, and what it is."""

    phase: str
    nth: int
    seconds: float
    number: signal.Signals

    @property
    def code(self) -> int:
        """The exit code that is right."""
        return -self.number if self.number == signal.SIGKILL else command.PREEMPTED


def main(arguments: list[str]) -> None:
    """Prints a line for each kill, and what came of them."""
    command.refuse_arguments(arguments)
    draws = random.Random(FLAGS.seed)
    with tempfile.TemporaryDirectory() as directory:
        whole = Path(directory) / "whole"
        done = miniature.train(*_flags(whole, FLAGS.data_dir, FLAGS.replicas[0]))
        if done.returncode:
            raise RuntimeError(f"The uninterrupted run failed: {done.stderr}")
        counts: collections.Counter[str] = collections.Counter()
        slowest, runs = 0.0, 0
        while counts.total() < FLAGS.kills:
            runs += 1
            workdir = Path(directory) / str(runs)
            most = min(FLAGS.kills_a_run, FLAGS.kills - counts.total())
            for kill, seconds in survive(
                workdir, FLAGS.data_dir, most=most, draws=draws, replicas=FLAGS.replicas
            ):
                print(f"run {runs}: {kill}, ended after {seconds:.2f} s", flush=True)
                counts[f"{kill.phase} {kill.number.name}"] += 1
                slowest = max(slowest, seconds)
            for name, difference in compare(whole, workdir).items():
                print(f"run {runs}: {name} differ by {difference:.1e} at most", flush=True)
    for name, count in sorted(counts.items()):
        print(f"{count:3} {name}")
    print(f"{counts.total()} kills in {runs} runs; a process ended {slowest:.2f} s after at most")


def survive(
    workdir: Path, data_dir: str, *, most: int, draws: random.Random, replicas: Sequence[int] = (1,)
) -> Iterator[tuple[Kill, float]]:
    """Starts a run again and again until it is done; yields each kill and how long the end took.

    Args:
        workdir: Of the run.
        data_dir: What it trains on.
        most: So many kills at most; then the run is left to end.
        draws: Where the moments come from.
        replicas: Numbers of replicas, of which each start takes one.

    Raises:
        RuntimeError: if a process ends otherwise than it should.
    """
    kills = 0
    while kills < most:
        kill = draw_kill(draws)
        flags_of_start = _flags(workdir, data_dir, draws.choice(replicas))
        started = doomed.command(kill.phase, kill.nth, kill.seconds, kill.number, flags_of_start)
        done = subprocess.run(
            started, capture_output=True, text=True, env=miniature.environment(), check=False
        )
        ended = time.time()
        if done.returncode == 0:
            return  # It was over before the moment came.
        if done.returncode != kill.code:
            raise RuntimeError(f"{kill} ended with {done.returncode}: {done.stderr}")
        kills += 1
        [moment] = re.findall(r"^doomed at ([\d.]+)", done.stderr, re.MULTILINE)
        yield kill, ended - float(moment)
    done = miniature.train(*_flags(workdir, data_dir, draws.choice(replicas)))
    if done.returncode:
        raise RuntimeError(f"The run did not go on: {done.stderr}")


def draw_kill(draws: random.Random) -> Kill:
    """Returns a kill in a random phase."""
    phase = draws.choice(list(PHASES))
    times, (earliest, latest) = PHASES[phase]
    return Kill(
        phase,
        draws.randint(1, times),
        round(draws.uniform(earliest, latest), 4),
        draws.choice(SIGNALS),
    )


def compare(whole: Path, resumed: Path) -> dict[str, float]:
    """Returns how far two runs are apart at most: their weights, and the rows of history.csv."""
    pairs = zip(weights_of(whole), weights_of(resumed), strict=True)
    rows = np.abs(history_of(whole) - history_of(resumed))
    return {
        "weights": max(float(np.abs(a - b).max()) for a, b in pairs),
        "histories": float(rows.max()),
    }


def weights_of(workdir: Path) -> list[np.ndarray]:
    """The weights of model.keras."""
    import keras

    return keras.models.load_model(workdir / "model.keras", compile=False).get_weights()


def history_of(workdir: Path) -> np.ndarray:
    """history.csv without the columns that tell the time, float64 [epochs, columns]."""
    with (workdir / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in ("images_per_second", "seconds")]
    return np.array([[float(row[name]) for name in names] for row in rows])


def _flags(workdir: Path, data_dir: str, replicas: int) -> list[str]:
    return [
        f"--data_dir={data_dir}", f"--workdir={workdir}", f"--cpu_replicas={replicas}", *RECIPE
    ]  # fmt: skip


if __name__ == "__main__":
    command.run(main)
