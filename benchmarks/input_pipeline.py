"""Measures the training input alone, beside other ways to read the same photographs.

python -m benchmarks.input_pipeline --data_dir=D --peer_python=VENV/bin/python

The peers need torch, torchvision, webdataset, litdata and ffcv, which the project does not: name
the Python of an environment that has them. A line names those that do not run there.
"""

import io
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import flags
from PIL import Image

from benchmarks import input_contestants
from cli import command, paths
from tfrecords import framing, schema
from tfrecords.images import JPEG_QUALITY
from tfrecords.manifest import read_manifest

FLAGS = flags.FLAGS

paths.define("data_dir", None, "What data_prep.build made; repeated.", required=True)
paths.define("peer_python", sys.executable, "The Python that has the peers' packages.")
flags.DEFINE_list("contestants", ["bare", *input_contestants.CONTESTANTS], "Which to run.")
flags.DEFINE_list("cores", ["1", str(os.cpu_count())], "Numbers of cores, one after the other.")
flags.DEFINE_integer("images", 1868, "Different photographs, and how many to time.", lower_bound=64)
flags.DEFINE_integer("runs", 3, "Of which the medians are printed.", lower_bound=1)

_HERE = ("bare", "ours", "keras_directory", "tfds_default")  # With this Python.
_SECONDS = 90  # After which a contestant is given up.


def main(arguments: list[str]) -> None:
    """Prints images a second and ratios for each number of cores."""
    command.refuse_arguments(arguments)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        _write_photographs(Path(FLAGS.data_dir), folder / "folder", FLAGS.images)
        _build_shards(folder)
        names = [name for name in FLAGS.contestants if _prepare(name, folder)]
        for cores in map(int, FLAGS.cores):
            rates: dict[str, list[float]] = {name: [] for name in names}
            for _ in range(FLAGS.runs):  # In turn, so that a slow minute meets all of them.
                for name in names:
                    rates[name].append(_rate(name, folder, cores))
            _print_table(cores, {name: statistics.median(rates[name]) for name in names})


def _write_photographs(data_dir: Path, folder: Path, count: int) -> None:
    """Repeats the stored photographs, each time a little darker, so that no two are the same."""
    manifest = read_manifest(data_dir)
    stored = [
        schema.parse_example(record.data)
        for shard in manifest.shards
        for record in framing.read_frames((data_dir / shard.file).open("rb"), shard.bytes)
    ]
    for index in range(count):
        repetition, position = divmod(index, len(stored))
        example = stored[position]
        jpeg = example.image
        if repetition:
            image = Image.open(io.BytesIO(jpeg)).convert("RGB")
            darker = image.point([round(v * 0.97**repetition) for v in range(256)] * 3)
            out = io.BytesIO()
            darker.save(out, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
            jpeg = out.getvalue()
        path = folder / manifest.classes[example.label] / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)


def _build_shards(folder: Path) -> None:
    """Our shards of the same JPEGs: they fit already, and are stored as they are."""
    subprocess.run(
        [
            *(sys.executable, "-m", "data_prep.build", "--source=folder", "--classes=all"),
            *(f"--folder_dir={folder / 'folder'}", f"--data_dir={folder / 'shards'}"),
            "--val_fraction=0",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _prepare(name: str, folder: Path) -> bool:
    """Writes what a contestant reads; says so and returns False where it does not run here."""
    if name not in input_contestants.PREPARE:
        return True
    done = _run("prepare", name, folder, cores=1)
    if done.returncode:
        print(f"{name} does not run here: {_last_line(done)}", flush=True)
    return done.returncode == 0


def _rate(name: str, folder: Path, cores: int) -> float:
    """Images a second; NaN, and a line, where it fails."""
    done = _run("run", name, folder, cores)
    if done.returncode:
        print(f"{name} fails on {cores} cores: {_last_line(done)}", flush=True)
        return float("nan")
    return float(done.stdout.split()[-1])


def _run(action: str, name: str, folder: Path, cores: int) -> subprocess.CompletedProcess[str]:
    python = sys.executable if name in _HERE else FLAGS.peer_python
    command_line = [python, input_contestants.__file__, action, name, str(folder)]
    repository = str(Path(__file__).parents[1])
    return subprocess.run(
        ["timeout", str(_SECONDS), *command_line, str(cores), str(FLAGS.images)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": repository if name in _HERE else ""},
    )  # fmt: skip


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]


def _print_table(cores: int, rates: dict[str, float]) -> None:
    print(f"{FLAGS.images} photographs, {cores} of {os.cpu_count()} cores")
    for name, rate in sorted(rates.items(), key=lambda row: -row[1]):
        ratio = f"ours is {rates['ours'] / rate:.2f}x" if "ours" in rates else ""
        print(f"  {name:<16}{rate:>7.0f} images/s   {ratio}", flush=True)


if __name__ == "__main__":
    command.run(main)
