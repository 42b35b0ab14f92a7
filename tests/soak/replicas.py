"""Trains one recipe on several numbers of replicas and workers: how far apart do they end?

python -m tests.soak.replicas --data_dir=D --weights=imagenet --epochs=3
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from cli import command, paths
from tests.support.ports import free_ports

FLAGS = flags.FLAGS

paths.define("data_dir", None, "What data_prep.build made.", required=True)
paths.define("weights", "imagenet", "As trainer.main takes it.")
flags.DEFINE_integer("epochs", 3, "Of each run.", lower_bound=1)
flags.DEFINE_integer("batch_size", 24, "Which all the numbers below divide.", lower_bound=1)
flags.DEFINE_multi_integer("replicas", [2, 4], "Numbers of replicas of one process.")
flags.DEFINE_multi_integer("workers", [2, 3], "Numbers of workers, on the loopback device.")


def main(arguments: list[str]) -> None:
    """Prints a line for each number of replicas, and of workers."""
    command.refuse_arguments(arguments)
    with tempfile.TemporaryDirectory() as directory:
        alone = _train(Path(directory) / "alone", 1)
        for replicas in FLAGS.replicas:
            other = _train(Path(directory) / f"replicas-{replicas}", replicas)
            print(f"{replicas} replicas: {_compare(alone, other)}", flush=True)
        for workers in FLAGS.workers:
            other = _train(Path(directory) / f"workers-{workers}", 1, workers)
            print(f"{workers} workers: {_compare(alone, other)}", flush=True)


def _train(workdir: Path, replicas: int, workers: int = 1) -> Path:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    processes = []
    for rank in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        cluster_variables = {"TF_CONFIG": json.dumps(config)} if workers > 1 else {}
        processes.append(
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "trainer.main", "--num_gpus=0", "--deterministic"),
                    *(f"--cpu_replicas={replicas}", f"--batch_size={FLAGS.batch_size}"),
                    *(f"--data_dir={FLAGS.data_dir}", f"--workdir={workdir}"),
                    *(f"--weights={FLAGS.weights}", f"--epochs={FLAGS.epochs}"),
                    f"--keep_checkpoints={FLAGS.epochs}",
                ],
                env={**os.environ, **cluster_variables},
                stdout=subprocess.DEVNULL,
            )
        )
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"A run failed. Received: exit codes {codes}.")
    return workdir


def _compare(one: Path, other: Path) -> str:
    """Says how far two runs' weights and momenta are apart after each epoch."""
    names = sorted(path.name for path in (one / "checkpoints").iterdir())
    apart = (_difference(*(run / "checkpoints" / name for run in (one, other))) for name in names)
    steps = ", ".join(str(int(name.removeprefix("step-").removesuffix(".npz"))) for name in names)
    figures = ", ".join(f"{difference:.1e}" for difference in apart)
    return f"largest difference of a weight {figures} after {steps} steps"


def _difference(one: Path, other: Path) -> float:
    with np.load(one) as a, np.load(other) as b:
        arrays = [name for name in a.files if a[name].dtype == np.float32]
        return max(float(np.abs(a[name] - b[name]).max()) for name in arrays)


if __name__ == "__main__":
    command.run(main)
