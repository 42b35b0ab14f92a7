"""Measures what a user waits for: `--help`, and the first training step of VGG16.

python -m benchmarks.startup --data_dir=D
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from absl import flags

from cli import command, paths

FLAGS = flags.FLAGS

paths.define("data_dir", None, "What data_prep.build made.", required=True)
paths.define("weights", "imagenet", "As trainer.main takes it.")
flags.DEFINE_integer("runs", 3, "Of which the medians are printed.", lower_bound=1)

# The trainer, which ends as its first step begins, or once it is done.
_FIRST_STEP = """
import os
import keras
from trainer import main
from trainer.loop.history_log import HistoryLog
def end(*_, **named):
    os._exit(0)
HistoryLog.on_train_batch_{event} = end
main.run()
"""
_EVENTS = {"begin": "beginning", "end": "end"}


def main(arguments: list[str]) -> None:
    """Prints the medians, in seconds."""
    command.refuse_arguments(arguments)
    _print_median("python -m trainer.main --help", ["-m", "trainer.main", "--help"])
    with tempfile.TemporaryDirectory() as workdir:
        trainer_flags = [f"--data_dir={FLAGS.data_dir}", f"--weights={FLAGS.weights}"]
        trainer_flags += ["--num_gpus=0", "--cache_features=off"]
        for event, name in _EVENTS.items():
            training = ["-c", _FIRST_STEP.format(event=event), *trainer_flags]
            _print_median(f"to the {name} of the first training step", training, workdir)


def _print_median(name: str, arguments: Sequence[str], workdir: str | None = None) -> None:
    seconds = []
    for run in range(FLAGS.runs):
        workdir_flag = [f"--workdir={workdir}/{name}/{run}"] if workdir else []
        start = time.monotonic()
        subprocess.run(
            [sys.executable, *arguments, *workdir_flag], check=True, stdout=subprocess.DEVNULL
        )
        seconds.append(time.monotonic() - start)
    print(f"{name}: {statistics.median(seconds):.2f} s on {os.cpu_count()} cores", flush=True)


if __name__ == "__main__":
    command.run(main)
