"""Runs one step of the reference recipe with microbatches of several sizes and prints peak memory.

python -m benchmarks.microbatch --data_dir=D

Each step is a dry run of trainer.main in a process of its own; the memory is that whole process's,
TensorFlow and the validation batch included.
"""

import os
import statistics
import subprocess
import sys
import tempfile

from absl import flags

from cli import command, paths

FLAGS = flags.FLAGS

paths.define("data_dir", None, "What data_prep.build made.", required=True)
paths.define("weights", "imagenet", "As trainer.main takes it.")
flags.DEFINE_multi_integer("freeze_layers", [0, 15], "As trainer.main takes it.")
flags.DEFINE_multi_integer("microbatch_size", [32, 8, 4, 1], "As trainer.main takes it.")
flags.DEFINE_integer("runs", 3, "Of which the medians are printed.", lower_bound=1)


def main(arguments: list[str]) -> None:
    """Prints a line for each number of frozen layers and each microbatch."""
    command.refuse_arguments(arguments)
    contestants = [(f, m) for f in FLAGS.freeze_layers for m in FLAGS.microbatch_size]
    runs: dict[tuple[int, int], list[float]] = {contestant: [] for contestant in contestants}
    for _ in range(FLAGS.runs):  # In turn, so that a busy moment hits all alike.
        for contestant in contestants:
            runs[contestant].append(_peak_megabytes(*contestant))
    for (frozen, microbatch), megabytes in runs.items():
        whole = statistics.median(runs[frozen, FLAGS.microbatch_size[0]])
        peak = statistics.median(megabytes)
        print(f"{frozen:2} layers frozen, {microbatch:2} images at once: {peak:.0f} MB at most, "
              f"{peak / whole:.2f}x")  # fmt: skip


def _peak_megabytes(freeze_layers: int, microbatch_size: int) -> float:
    with tempfile.TemporaryDirectory() as directory:
        argv = [
            *(sys.executable, "-m", "trainer.main", "--num_gpus=0", "--dry_run"),
            *(f"--data_dir={FLAGS.data_dir}", f"--workdir={directory}/run"),
            *(f"--weights={FLAGS.weights}", f"--freeze_layers={freeze_layers}"),
            *("--cache_features=off", f"--microbatch_size={microbatch_size}"),
        ]
        nowhere = subprocess.DEVNULL
        with subprocess.Popen(argv, stdout=nowhere, stderr=nowhere) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with exit code {process.returncode}")
    return usage.ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    command.run(main)
