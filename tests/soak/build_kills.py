"""Kills builds with -9 at random moments, and compares what they end as, byte for byte.

python -m tests.soak.build_kills --kills=60
"""

import collections
import random
import tempfile
from pathlib import Path

from absl import flags

from cli import command
from tests.support import killed_builds

FLAGS = flags.FLAGS

flags.DEFINE_integer("images", 400, "How many animals each build draws.", lower_bound=8)
flags.DEFINE_integer("kills", 60, "How many in all.", lower_bound=1)
flags.DEFINE_integer("kills_a_build", 6, "At most, before a build is left to end.", lower_bound=1)
flags.DEFINE_multi_integer("workers", [1, 2, 4], "Numbers of workers, drawn from at each start.")
flags.DEFINE_integer("seed", 0, "Of the moments.")


def main(arguments: list[str]) -> None:
    """Prints a line for each kill, and what came of them."""
    command.refuse_arguments(arguments)
    draws = random.Random(FLAGS.seed)
    counts: collections.Counter[str] = collections.Counter()
    builds = 0
    with tempfile.TemporaryDirectory() as directory:
        whole = Path(directory) / "whole"
        killed_builds.finish(whole, FLAGS.images, num_workers=1)
        while counts.total() < FLAGS.kills:
            builds += 1
            data_dir = Path(directory) / str(builds)
            most = min(FLAGS.kills_a_build, FLAGS.kills - counts.total())
            for kill in killed_builds.survive(data_dir, FLAGS.images, most, draws, FLAGS.workers):
                print(f"build {builds}: {kill}", flush=True)
                counts[kill.phase] += 1
            differing = killed_builds.compare(whole, data_dir)
            if differing:
                raise RuntimeError(f"These differ after the kills: {', '.join(differing)}.")
    for phase, count in sorted(counts.items()):
        print(f"{count:3} in {phase}")
    print(f"{counts.total()} kills in {builds} builds, and not one differing byte")


if __name__ == "__main__":
    command.run(main)
