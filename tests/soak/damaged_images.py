"""Sends damaged images of every format through builds: none may end one, each is accounted for.

python -m tests.soak.damaged_images --count=20000
"""

import collections
import tempfile
import time
from pathlib import Path

from absl import flags, logging

from cli import command
from tests.support import damaged_images

FLAGS = flags.FLAGS

flags.DEFINE_integer("count", 20_000, "How many images in all.", lower_bound=100)
flags.DEFINE_integer("images_a_build", 1000, "How many of them each build gets.", lower_bound=100)
flags.DEFINE_integer("num_workers", 2, "Of each build.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of the damage, raised by one for each build.")
flags.DEFINE_string("scratch", None, "Where a build that fails is left; unset: nowhere.")


def main(arguments: list[str]) -> None:
    """Prints a line for each build, and the reasons for which images were rejected."""
    command.refuse_arguments(arguments)
    logging.set_verbosity(logging.WARNING)  # TFDS tells of every dataset.
    reasons: collections.Counter[str] = collections.Counter()
    examples = 0
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(FLAGS.scratch or directory)
        for number, start in enumerate(range(0, FLAGS.count, FLAGS.images_a_build)):
            began = time.monotonic()
            seed = FLAGS.seed + number
            folder = scratch / f"seed_{seed}"
            count = min(FLAGS.images_a_build, FLAGS.count - start)
            damaged_images.write(folder, count, seed)
            # Every second build keeps the bytes of the JPEGs, the others shrink all images.
            image_size = 0 if number % 2 == 0 else 64
            outcome = damaged_images.survive(
                folder, f"--image_size={image_size}", f"--num_workers={FLAGS.num_workers}"
            )
            examples += outcome.examples
            reasons += outcome.reasons
            print(
                f"seed {seed}: {outcome.examples} examples, {outcome.reasons.total()} rejections, "
                f"{time.monotonic() - began:.0f} s",
                flush=True,
            )
    for reason, count in reasons.most_common():
        print(f"{count:6} {reason}")
    print(f"{examples} examples that TensorFlow and TFDS read, {reasons.total()} rejections")


if __name__ == "__main__":
    command.run(main)
