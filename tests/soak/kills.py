"""Stops runs of the miniature at random moments, and compares what they end as, bit for bit.

python -m tests.soak.kills --data_dir=D --kills=30
python -m tests.soak.kills --data_dir=D --kills=20 --bucket=s3
"""

import collections
import contextlib
import os
import random
import secrets
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags

from cli import command, paths
from tests.soak.comparison import compare
from tests.support import miniature, own_process, warm
from tests.support.doomed import Kill, survive
from trainer.workdir import mirror

FLAGS = flags.FLAGS

paths.define("data_dir", None, "What data_prep.build made.", required=True)
flags.DEFINE_integer("kills", 30, "How many in all.", lower_bound=1)
flags.DEFINE_integer("kills_a_run", 6, "At most, before a run is left to end.", lower_bound=1)
flags.DEFINE_multi_integer("replicas", [1], "Numbers of replicas, drawn from at each start.")
flags.DEFINE_integer("seed", 0, "Of the moments.")
flags.DEFINE_enum(
    "bucket", None, ["s3", "gs"],
    "Runs in a bucket of a server on this machine; each process begins without copies.",
)  # fmt: skip

RECIPE = (
    "--batch_size=8", "--epochs=3", "--learning_rate=0.05", "--deterministic",
    "--learning_rate_schedule=cosine", "--warmup_epochs=1", "--early_stopping_patience=2",
    "--checkpoint_every=2",
)  # fmt: skip

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# How often a phase comes in a run at least, and how many seconds of it a signal may fall into.
PHASES = {
    "import": (1, (0.0, 4.0)),
    "build": (1, (0.0, 0.4)),
    "trace": (1, (0.0, 1.0)),
    "train": (9, (0.0, 0.02)),
    "checkpoint": (6, (0.0, 0.01)),
    "evaluate": (2, (0.0, 0.2)),
    "report": (1, (0.0, 0.6)),
}


def main(arguments: list[str]) -> None:
    """Prints a line for each kill, and what came of them."""
    command.refuse_arguments(arguments)
    draws = random.Random(FLAGS.seed)
    with tempfile.TemporaryDirectory() as directory, _place(directory) as place:
        whole = Path(directory) / "whole"
        done = miniature.train(*_flags(whole), start=warm.cold)
        if done.returncode:
            raise RuntimeError(f"The uninterrupted run failed: {done.stderr}")
        counts: collections.Counter[str] = collections.Counter()
        slowest, runs = 0.0, 0
        while counts.total() < FLAGS.kills:
            runs += 1
            workdir = f"{place}/{runs}"
            _forget_copies(directory)
            most = min(FLAGS.kills_a_run, FLAGS.kills - counts.total())
            kills = [draw_kill(draws, FLAGS.replicas) for _ in range(most)]
            for kill, seconds in survive(_flags(workdir), kills, warm.cold):
                print(f"run {runs}: {kill}, ended after {seconds:.2f} s", flush=True)
                counts[f"{kill.phase} {kill.number.name}"] += 1
                slowest = max(slowest, seconds)
                _forget_copies(directory)
            differences = compare(whole, mirror.read(workdir, ["model.keras", "history.csv"]))
            print(f"run {runs}: ended; largest differences {differences}", flush=True)
            if any(differences.values()):
                raise RuntimeError(f"Run {runs} ended elsewhere than the one without a kill.")
    for name, count in sorted(counts.items()):
        print(f"{count:3} {name}")
    print(f"{counts.total()} kills in {runs} runs; a process ended {slowest:.2f} s after at most")


def draw_kill(draws: random.Random, replicas: Sequence[int]) -> Kill:
    """Returns a kill in a random phase of a process with one of these numbers of replicas."""
    phase = draws.choice(list(PHASES))
    times, (earliest, latest) = PHASES[phase]
    return Kill(
        phase=phase,
        nth=draws.randint(1, times),
        seconds=round(draws.uniform(earliest, latest), 4),
        number=draws.choice(SIGNALS),
        replicas=draws.choice(replicas),
    )


@contextlib.contextmanager
def _place(directory: str) -> Iterator[str]:
    """Where the runs go: into a folder, or into a bucket."""
    if not FLAGS.bucket:
        yield directory
        return
    with own_process.started("tests.support.bucket_servers", FLAGS.bucket, "--bucket") as told:
        bucket = told.pop("BUCKET")
        os.environ.update(told)
        yield bucket


def _forget_copies(directory: str) -> None:
    """Makes the next process one of another machine."""
    os.environ["XDG_CACHE_HOME"] = f"{directory}/cache-{secrets.token_hex(4)}"


def _flags(workdir: str | Path) -> list[str]:
    return [f"--data_dir={FLAGS.data_dir}", f"--workdir={workdir}", *RECIPE]


if __name__ == "__main__":
    command.run(main)
