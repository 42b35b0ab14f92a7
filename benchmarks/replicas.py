"""Trains the same recipe on 1, 2 and 4 CPU replicas and prints how far apart the weights end.

python -m benchmarks.replicas --data_dir=D --weights=imagenet --epochs=3
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from cli import command

FLAGS = flags.FLAGS

flags.DEFINE_string("data_dir", None, "What data_prep.build made.", required=True)
flags.DEFINE_string("weights", "imagenet", "As trainer.main takes it.")
flags.DEFINE_integer("epochs", 3, "Of each run.", lower_bound=1)
flags.DEFINE_multi_integer("replicas", [1, 2, 4], "Numbers of replicas.")


def main(arguments: list[str]) -> None:
    """Prints a line for each number of replicas."""
    command.refuse_arguments(arguments)
    with tempfile.TemporaryDirectory() as directory:
        runs = {n: Path(directory) / str(n) for n in FLAGS.replicas}
        for replicas, workdir in runs.items():
            _train(replicas, workdir)
        first = runs[FLAGS.replicas[0]]
        for replicas, workdir in runs.items():
            difference = max(
                float(np.abs(a - b).max())
                for a, b in zip(_weights(first), _weights(workdir), strict=True)
            )
            print(f"{replicas} replicas: largest difference of a weight {difference:.1e}")


def _train(replicas: int, workdir: Path) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "trainer.main", "--num_gpus=0", f"--cpu_replicas={replicas}"),
            *(f"--data_dir={FLAGS.data_dir}", f"--workdir={workdir}"),
            *(f"--weights={FLAGS.weights}", f"--epochs={FLAGS.epochs}"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _weights(workdir: Path) -> list[np.ndarray]:
    import keras

    return keras.models.load_model(workdir / "model.keras", compile=False).get_weights()


if __name__ == "__main__":
    command.run(main)
