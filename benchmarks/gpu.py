"""Measures the trainer on a device as whole processes, beside what the device can do.

python -m benchmarks.gpu --data_dir=D --log=FILE --limit_s=500

Every --precision x --jit_compile x --cache_features x --batch_size, most important first: what
departs least from the first of each. Beside them `benchmarks.gpu_bound`, plain Keras on a batch in
the device's memory; a --deterministic run twice, and once more killed and resumed, which shall end
with the same bits. Each figure is noted in --log as soon as it is there, and is not measured again;
what failed is. Photographs: those of --data_dir, or --photographs made of --coco_dir's. Where an
epoch has few steps, a rate that is bound by input looks too large: some batches are ready as it
begins.

In small, on a CPU:

python -m benchmarks.gpu --data_dir=D --log=FILE --num_gpus=0 --batch_sizes=4 --precisions=float32
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import photographs
from benchmarks.gpu_figures import figures_of, rates_of, read_log, same_bits, table
from benchmarks.gpu_jobs import Job, Recipe, plan
from cli import command, paths
from cli.flags import options_of
from trainer.config import TrainConfig

FLAGS = flags.FLAGS

_OPTIONS = options_of(TrainConfig)

paths.define("data_dir", None, "What data_prep.build made; or --coco_dir.")
paths.define("coco_dir", None, "A COCO folder, of whose photographs others are made.")
flags.DEFINE_integer("photographs", 4352, "How many are made of --coco_dir's.", lower_bound=64)
paths.define("log", None, "Where the figures are noted, a line each.", required=True)
paths.define("outputs", None, "Where what the processes print is kept; unset: nowhere.")
paths.define("weights", "none", "As trainer.main takes it: the speed is the same.")
flags.DEFINE_integer("num_gpus", 1, "0: the CPU.", lower_bound=0, upper_bound=1)
flags.DEFINE_integer("epochs", 4, "Of a training; the first is not counted.", lower_bound=2)
flags.DEFINE_list(
    "precisions",
    list(_OPTIONS["precision"].choices),
    "As trainer.main's --precision takes them.",
)
flags.DEFINE_list("jit_compile", ["false", "true"], "As trainer.main takes it.")
flags.DEFINE_list("cache_features", ["off", "on"], "As trainer.main takes it.")
flags.DEFINE_list("batch_sizes", ["256", "32"], "The first is the one to begin with.")
flags.DEFINE_float("limit_s", 3600, "Seconds in all, after which what runs is ended.")
flags.DEFINE_float("job_limit_s", 150, "Seconds of one process at most.")

_POLL_SECONDS = 0.02
# Of a process, or of what it leaves.
_FAILURES = (RuntimeError, OSError, ValueError, subprocess.SubprocessError)


def main(arguments: list[str]) -> None:
    """Measures what is not noted yet, until the time is over, and prints the table."""
    command.refuse_arguments(arguments)
    end = time.monotonic() + FLAGS.limit_s
    log = Path(FLAGS.log)
    jobs = plan(
        FLAGS.precisions,
        [{"false": False, "true": True}[value] for value in FLAGS.jit_compile],
        [value for value in FLAGS.cache_features if value in _OPTIONS["cache_features"].choices],
        [int(value) for value in FLAGS.batch_sizes],
    )
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(_data_dir(Path(directory)), Path(directory), end)
        for job in jobs:
            if any(entry["name"] == job.name and "error" not in entry for entry in read_log(log)):
                continue
            if time.monotonic() >= end:
                print(f"The time is over: {job.name} is not measured.", flush=True)
                continue
            _note(log, job, bench)
    print(table(read_log(log)))


def _data_dir(directory: Path) -> Path:
    """The dataset: the given one, or one made of real photographs."""
    if (FLAGS.data_dir is None) == (FLAGS.coco_dir is None):
        raise command.FlagsError("Give --data_dir or --coco_dir, one of them.")
    if FLAGS.data_dir:
        return Path(FLAGS.data_dir)
    photographs.repeat(Path(FLAGS.coco_dir), directory / "coco", FLAGS.photographs)
    build = [sys.executable, "-m", "data_prep.build", "--source=coco"]
    subprocess.run(
        [
            *(*build, f"--coco_dir={directory / 'coco'}", f"--data_dir={directory / 'data'}"),
            *("--split_by=hash", "--val_fraction=0.06"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return directory / "data"


def _note(log: Path, job: Job, bench: "Bench") -> None:
    """Measures, and appends what came of it to the log."""
    start = time.perf_counter()
    entry = {"name": job.name, "kind": job.kind, **job.recipe._asdict()}
    try:
        entry |= bench.measure(job)
    except _FAILURES as error:  # The others are worth knowing.
        entry["error"] = str(error)[-2000:]
    entry["seconds"] = round(time.perf_counter() - start, 1)
    with log.open("a") as file:
        file.write(json.dumps(entry) + "\n")
    print(json.dumps(entry), flush=True)


class Bench:
    """Runs the processes.

    Args:
        data_dir: The dataset.
        directory: Where the runs go; each is removed once it is measured.
        end: When the time is over, as time.monotonic() tells it.
    """

    def __init__(self, data_dir: Path, directory: Path, end: float) -> None:
        self._data_dir = data_dir
        self._directory = directory
        self._end = end

    def measure(self, job: Job) -> dict[str, Any]:
        """Returns the figures of a job.

        Raises:
            RuntimeError: if a process fails.
            subprocess.TimeoutExpired: if it takes too long.
        """
        measurements: dict[str, Callable[[Job], dict[str, Any]]] = {
            "training": self._training,
            "bound": self._bound,
            "deterministic": self._deterministic,
            "again": self._again,
            "resumed": self._resumed,
        }
        return measurements[job.kind](job)

    def _training(self, job: Job) -> dict[str, Any]:
        workdir = self._directory / "training"
        try:
            return self._train(job.name, self._command(job.recipe, workdir), workdir)
        finally:
            shutil.rmtree(workdir, ignore_errors=True)

    def _bound(self, job: Job) -> dict[str, Any]:
        line = [
            *(sys.executable, "-m", "benchmarks.gpu_bound", f"--num_gpus={FLAGS.num_gpus}"),
            *(
                f"--precision={job.recipe.precision}",
                f"--batch_sizes={','.join(FLAGS.batch_sizes)}",
            ),
            f"--jit_compile={job.recipe.jit_compile}",
        ]
        try:
            printed = self._run(job.name, line)
        except subprocess.TimeoutExpired:  # Each figure stands as soon as it is known.
            printed = self._output(job.name, "out").read_text()
            if len(printed.splitlines()) < 2:
                raise
        device, *figures = map(json.loads, printed.splitlines())
        return {**device, "bounds": figures}

    def _deterministic(self, job: Job) -> dict[str, Any]:
        line = self._command(job.recipe, self._unbroken, "--deterministic")
        return self._train(job.name, line, self._unbroken)

    def _again(self, job: Job) -> dict[str, Any]:
        workdir = self._directory / "again"
        line = self._command(job.recipe, workdir, "--deterministic")
        return self._train(job.name, line, workdir) | self._compare(job, workdir)

    def _resumed(self, job: Job) -> dict[str, Any]:
        """Kills a run once there is a checkpoint in its first epoch, and starts it again."""
        workdir = self._directory / "resumed"
        line = self._command(job.recipe, workdir, "--deterministic", "--checkpoint_every=2")
        self._kill_at(workdir / "checkpoints" / "step-00000002.npz", line)
        return self._train(job.name, line, workdir) | self._compare(job, workdir)

    def _compare(self, job: Job, workdir: Path) -> dict[str, Any]:
        if not (self._unbroken / "metrics.json").exists():  # Not measured here, or not to its end.
            self._deterministic(job)
        return {"same_bits": same_bits(self._unbroken, workdir)}

    @property
    def _unbroken(self) -> Path:
        return self._directory / "unbroken"

    def _command(self, recipe: Recipe, workdir: Path, *others: str) -> list[str]:
        return [
            *(sys.executable, "-m", "benchmarks.gpu_training", f"--data_dir={self._data_dir}"),
            *(f"--workdir={workdir}", f"--weights={FLAGS.weights}", f"--epochs={FLAGS.epochs}"),
            *(f"--num_gpus={FLAGS.num_gpus}", *recipe.flags, *others),
        ]

    def _train(self, name: str, line: Sequence[str], workdir: Path) -> dict[str, Any]:
        return figures_of(self._run(name, line)) | rates_of(workdir / "history.csv")

    def _run(self, name: str, line: Sequence[str]) -> str:
        """Runs a process to its end and returns what it printed."""
        stdout, stderr = self._output(name, "out"), self._output(name, "err")
        with stdout.open("w") as out, stderr.open("w") as err:
            done = subprocess.run(line, stdout=out, stderr=err, timeout=self._left(), check=False)
        if done.returncode:
            raise RuntimeError(f"Ended with {done.returncode}: {stderr.read_text()[-1500:]}")
        return stdout.read_text()

    def _output(self, name: str, stream: str) -> Path:
        """Where what a process prints is kept."""
        outputs = Path(FLAGS.outputs or self._directory)
        outputs.mkdir(parents=True, exist_ok=True)
        return outputs / f"{name.replace(', ', '-').replace(' ', '-')}.{stream}"

    def _kill_at(self, path: Path, line: Sequence[str]) -> None:
        """Starts a process, and kills it once a file is there.

        Raises:
            RuntimeError: if it ends before, or the file does not come in time.
        """
        end = time.monotonic() + self._left()
        with subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                while not path.exists():
                    if process.poll() is not None or time.monotonic() > end:
                        raise RuntimeError(f"{path.name} was not written by {' '.join(line)}.")
                    time.sleep(_POLL_SECONDS)
            finally:
                process.kill()

    def _left(self) -> float:
        """Seconds that a process may take."""
        return max(1.0, min(FLAGS.job_limit_s, self._end - time.monotonic()))


if __name__ == "__main__":
    command.run(main)
