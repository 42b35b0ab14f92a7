"""Times the reference recipe as whole processes, from photographs to a model, beside its peers.

python -m benchmarks.recipe --data_dir=D --peer_python=VENV/bin/python --log=FILE

The peers get the shards' photographs as a folder per class. A run takes minutes, so each figure is
noted in --log as soon as it is there, and what is noted is not measured again.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from cli import command, paths
from tfrecords import framing, schema
from tfrecords.manifest import read_manifest

FLAGS = flags.FLAGS

paths.define("data_dir", None, "What data_prep.build made.", required=True)
paths.define("peer_python", None, "A Python with torch and torchvision.", required=True)
paths.define("log", None, "Where the figures are noted, a line each.", required=True)
paths.define("weights", None, "Keras's VGG16 file, without its top.", required=True)
flags.DEFINE_integer("epochs", 20, "Of each training.", lower_bound=1)
flags.DEFINE_integer("runs", 3, "Of each contestant.", lower_bound=1)
flags.DEFINE_list("only", [], "Names of contestants; unset: all.")

_PEERS = Path(__file__).parent


class Row(NamedTuple):
    """A ratio of the table: how many times as long the peer takes."""

    ours: str
    peer: str
    goal: float


ROWS = (
    Row("trainer", "seed loop", 3.7),
    Row("trainer, mixed_bfloat16", "seed loop", 6.0),
    Row("trainer, 19 frozen", "seed loop, 19 frozen", 12.0),
    Row("trainer", "PyTorch", 4.5),
    Row("trainer", "bound", 0.9),
    Row("trainer", "bound, Winograd", 0.9),
)


def contestants(photographs: Path, workdir: Path, weights: Path) -> dict[str, list[str]]:
    """The command line of each."""
    epochs, data = str(FLAGS.epochs), f"--data_dir={FLAGS.data_dir}"
    seed = [sys.executable, str(_PEERS / "seed_loop.py"), str(photographs), FLAGS.weights, epochs]
    torch = [FLAGS.peer_python, str(_PEERS / "torch_recipe.py"), str(photographs), str(weights)]
    ours = [
        *(sys.executable, "-m", "trainer.main", data, f"--workdir={workdir}"),
        *("--num_gpus=0", f"--weights={FLAGS.weights}", f"--epochs={epochs}"),
    ]
    bound = [
        *(sys.executable, "-m", "benchmarks.recipe_bound", data),
        *(f"--weights={FLAGS.weights}", f"--epochs={epochs}"),
    ]
    return {
        "seed loop": [*seed, "15"],
        "trainer": ours,
        "trainer, mixed_bfloat16": [*ours, "--precision=mixed_bfloat16"],
        "bound": bound,
        "bound, Winograd": [*bound, "--winograd"],
        "seed loop, 19 frozen": [*seed, "19"],
        "trainer, 19 frozen": [*ours, "--freeze_layers=19"],
        "PyTorch": [*torch, epochs, "15"],
    }


def main(arguments: list[str]) -> None:
    """Measures what is not noted yet, and prints the table."""
    command.refuse_arguments(arguments)
    log = Path(FLAGS.log)
    with tempfile.TemporaryDirectory() as directory:
        photographs, weights = Path(directory) / "photographs", Path(directory) / "weights.npz"
        _write_photographs(photographs)
        _write_weights(weights)
        for run in range(FLAGS.runs):  # In turn, so that a busy hour hits all alike.
            workdir = Path(directory) / str(run)
            for name, line in contestants(photographs, workdir, weights).items():
                if len(_noted(log).get(name, [])) > run or (FLAGS.only and name not in FLAGS.only):
                    continue
                seconds = _time(line)
                shutil.rmtree(workdir, ignore_errors=True)
                with log.open("a") as file:
                    file.write(json.dumps({"name": name, "seconds": seconds}) + "\n")
                print(f"run {run + 1}: {name} {seconds:.1f} s", flush=True)
    _print_table(_noted(log))


def _time(line: Sequence[str]) -> float:
    """Runs a contestant as a process and returns its seconds; the bound tells its own."""
    start = time.perf_counter()
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)} ended with {done.returncode}: {done.stderr[-2000:]}")
    own = [row for row in done.stdout.splitlines() if row.startswith("seconds: ")]
    return float(own[0].removeprefix("seconds: ")) if own else seconds


def _noted(log: Path) -> dict[str, list[float]]:
    noted: dict[str, list[float]] = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        entry = json.loads(line)
        noted.setdefault(entry["name"], []).append(entry["seconds"])
    return noted


def _print_table(noted: dict[str, list[float]]) -> None:
    for name, seconds in noted.items():
        print(f"{name}: {statistics.median(seconds):.1f} s, median of {len(seconds)}")
    for row in ROWS:
        if row.ours in noted and row.peer in noted:
            ratio = statistics.median(noted[row.peer]) / statistics.median(noted[row.ours])
            print(f"{row.peer} / {row.ours}: {ratio:.2f} (goal {row.goal})")


def _write_photographs(folder: Path) -> None:
    """Writes the shards' photographs as the peers read them: SPLIT/CLASS/NUMBER.jpg."""
    manifest = read_manifest(FLAGS.data_dir)
    for split in manifest.counts:
        number = 0
        for shard in manifest.shards_of(split):
            path = Path(FLAGS.data_dir) / shard.file
            with path.open("rb") as file:
                for record in framing.read_frames(file, path.stat().st_size):
                    example = schema.parse_example(record.data)
                    photograph = folder / split / manifest.classes[example.label] / f"{number}.jpg"
                    photograph.parent.mkdir(parents=True, exist_ok=True)
                    photograph.write_bytes(example.image)
                    number += 1


def _write_weights(path: Path) -> None:
    """Writes the convolutions for a Python that has no Keras."""
    import keras

    arrays = keras.applications.VGG16(include_top=False, weights=FLAGS.weights).get_weights()
    np.savez(path, **{f"{index:02d}": array for index, array in enumerate(arrays)})


if __name__ == "__main__":
    command.run(main)
