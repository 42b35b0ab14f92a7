"""Kills builds, trainings, evaluations and exports in buckets, each start on a fresh machine.

python -m tests.soak.bucket_kills --kills=20 --schemes=s3,gs
python -m tests.soak.bucket_kills --kills=20 --coco_dir=COCO --weights=FILE.h5

A machine is a cache folder of its own. What comes out is held against the same in local folders:
the digest of the dataset, and the bits of the model and of its figures. No checkpoint may be lost
that a line of the log said was in the bucket. Without --coco_dir it is the miniature on drawings.
"""

import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from absl import flags

from buckets.store import Store
from cli import command, paths
from tests.soak.comparison import compare
from tests.support import miniature, own_process
from tfrecords import naming

FLAGS = flags.FLAGS

paths.define("coco_dir", None, "Photographs; unset: drawings.")
paths.define("weights", None, "VGG16's; unset: the miniature.")
flags.DEFINE_integer("kills", 20, "On each kind of bucket.", lower_bound=1)
flags.DEFINE_list("schemes", ["s3", "gs"], "Kinds of buckets.")
flags.DEFINE_integer("seed", 0, "Of the moments.")

_IN_BUCKET = re.compile(r"The checkpoint is in the bucket: \S+step-(\d+)\.npz")
_RESUMED = re.compile(r"Resumed at step (\d+) from")
# How many of all kills fall into each command.
_SHARES = {"build": 5, "train": 10, "evaluate": 3, "export": 2}


@dataclasses.dataclass(frozen=True)
class Work:
    """The commands of one user, in one place.

    Attributes:
        base: A folder, or a bucket.
        variables: Of their environment.
    """

    base: str
    variables: Mapping[str, str]

    def line(self, name: str, output: Path) -> list[str]:
        """The command line of a step; an export goes into a folder of this machine."""
        data, run = f"--data_dir={self.base}/data", f"--workdir={self.base}/run"
        return {
            "build": ["-m", "data_prep.build", data, "--label_policy=largest", *_source()],
            "train": ["-m", "trainer.main", data, run, "--verbosity=0", *_recipe()],
            "evaluate": ["-m", "trainer.evaluate", data, run, "--name=soak"],
            "export": ["-m", "trainer.export", run, "--format=savedmodel", f"--output={output}"],
        }[name]

    def start(self, name: str, machine: Path) -> "subprocess.Popen[str]":
        """Starts a step on a machine."""
        search = [] if FLAGS.weights else [str(miniature.AS_MINIATURE)]
        environment = {
            **miniature.environment(),
            "PYTHONPATH": os.pathsep.join([*search, str(miniature.REPOSITORY)]),
            **self.variables,
            "XDG_CACHE_HOME": str(machine),
        }
        return subprocess.Popen(
            [sys.executable, *self.line(name, machine / "exported")], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def _source() -> list[str]:
    if FLAGS.coco_dir:
        return [f"--coco_dir={FLAGS.coco_dir}", "--split_by=hash", "--num_shards=8"]
    return ["--source=synthetic", "--synthetic_images=50", "--split_by=hash"]


def _recipe() -> list[str]:
    shared = ["--num_gpus=0", "--deterministic", "--epochs=2"]
    if FLAGS.weights:
        return [*shared, f"--weights={FLAGS.weights}", "--checkpoint_every=3"]
    return [
        *(*shared, "--weights=none", "--batch_size=8", "--learning_rate=0.05"),
        "--checkpoint_every=2",
    ]


def finish(work: Work, name: str, machine: Path) -> str:
    """Runs a step to its end, and returns what it printed.

    Raises:
        RuntimeError: if it fails.
    """
    process = work.start(name, machine)
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}: {said[-2000:]}")
    return said


def strike(work: Work, name: str, machine: Path, seconds: float) -> tuple[str, bool]:
    """Starts a step and kills it after so long; returns what it printed, and whether it was."""
    process = work.start(name, machine)
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return said, True
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}: {said[-2000:]}")
    return said, False


class Ledger:
    """Which checkpoints the log said were in the bucket, and where each start went on."""

    def __init__(self) -> None:
        self.newest = 0

    def read(self, said: str) -> None:
        """Takes what a training printed.

        Raises:
            RuntimeError: if it went on before a checkpoint that an earlier one said was there.
        """
        resumed = _RESUMED.search(said)
        begins = "starting at step" in said
        step = int(resumed[1]) if resumed else 0
        if begins and step < self.newest:
            raise RuntimeError(f"Step {self.newest} was in the bucket, and step {step} was found.")
        self.newest = max([self.newest, *map(int, _IN_BUCKET.findall(said))])


def soak(work: Work, seconds: Mapping[str, float], draws: random.Random, caches: Path) -> int:
    """Goes through all steps with kills, and returns how many there were."""
    kills, ledger = 0, Ledger()
    for name, share in _SHARES.items():
        wanted = round(FLAGS.kills * share / sum(_SHARES.values()))
        for _ in range(wanted):
            moment = draws.uniform(0.2, 0.8 * seconds[name])  # It may be faster now.
            said, was_killed = strike(work, name, caches / f"{name}-{kills}", moment)
            if name == "train":
                ledger.read(said)
            if not was_killed:
                break
            kills += 1
            print(f"{work.base}: {name} killed after {moment:.1f} s", flush=True)
        said = finish(work, name, caches / f"{name}-last")
        if name == "train":
            ledger.read(said)
    return kills


def differences(whole: Path, base: str, caches: Path) -> dict[str, float]:
    """How far what lies in a bucket is from what lies in a folder; the dataset must be the same.

    Raises:
        RuntimeError: if the dataset or the figures of the evaluation differ.
    """
    store = Store(base)
    found = caches / "found"
    for name in ("model.keras", "history.csv"):
        store.download(f"run/{name}", found / name)
    for name, key in ((f"data/{naming.MANIFEST}", "digest"), ("run/metrics.json", "loss"),
                      ("run/evaluations/soak/metrics.json", "loss")):  # fmt: skip
        there = json.loads(store.read(name))[key]
        here = json.loads((whole / name).read_text())[key]
        if there != here:
            raise RuntimeError(f"{key} of {name}: {there}, and {here} in the folder.")
    return compare(whole / "run", found)


def main(arguments: list[str]) -> None:
    """Prints a line for each kill, and what came of them."""
    command.refuse_arguments(arguments)
    draws = random.Random(FLAGS.seed)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        whole = Work(str(root / "whole"), {})
        seconds = {}
        for name in _SHARES:
            start = time.monotonic()
            finish(whole, name, root / "cache")
            seconds[name] = time.monotonic() - start
        for scheme in FLAGS.schemes:
            with own_process.started("tests.support.bucket_servers", scheme, "--bucket") as told:
                base = told.pop("BUCKET")
                os.environ.update(told)
                kills = soak(Work(base, told), seconds, draws, root / scheme)
                apart = differences(Path(whole.base), base, root / scheme)
            print(f"{scheme}: {kills} kills; largest differences {apart}", flush=True)
            if any(apart.values()):
                raise RuntimeError(f"On {scheme} the run ended elsewhere.")


if __name__ == "__main__":
    command.run(main)
