"""What a bucket behind a slow line costs: a training from one, and checkpoints into one.

python -m benchmarks.buckets --coco_dir=COCO

The store is moto's, on this machine, behind a line of --latency and --rate that this measures
first, as the server's own time comes on top. The dataset, of the photographs as they came, is
larger than --data_cache_gib and than what is shuffled in memory, so that each epoch fetches all of
it again; its epochs behind the first are compared with those of the same dataset in a folder. Steps
that checkpoints are written beside are no steps of a model but sleep: so what they lose is what
waiting, and the work of this process, takes from them.
"""

import contextlib
import csv
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from buckets.store import Store
from cli import command, paths

FLAGS = flags.FLAGS

paths.define("coco_dir", None, "A COCO folder; unset: checkpoints alone.")
flags.DEFINE_float("latency", 0.02, "Seconds before each answer.", lower_bound=0)
flags.DEFINE_float("rate", 50e6, "Bytes a second in each direction.", lower_bound=1)
flags.DEFINE_integer("turns", 3, "Of each; the median counts.", lower_bound=1)
flags.DEFINE_float("data_cache_gib", 0.02, "As trainer.main takes it.", lower_bound=0)
flags.DEFINE_float("between", 15.0, "Seconds from checkpoint to checkpoint.", lower_bound=1)

_STEP = 0.01  # Seconds.
_RECIPE = (
    "--weights=none", "--num_gpus=0", "--cache_features=off", "--input_size=96", "--epochs=3",
    "--data_ram_mib=64",
)  # fmt: skip


def main(arguments: list[str]) -> None:
    """Prints what the line gives, and the ratios."""
    command.refuse_arguments(arguments)
    with tempfile.TemporaryDirectory() as directory, _served() as base:
        folder = Path(directory)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        _measure_line(Store(base), folder)
        _measure_checkpoints(base, folder)
        if FLAGS.coco_dir:
            _measure_training(base, folder)


@contextlib.contextmanager
def _served() -> Iterator[str]:
    """A bucket behind the slow line, which this process and those it starts are led to."""
    line = [
        *(sys.executable, "-m", "tests.support.bucket_servers", "s3", "--bucket"),
        *(f"--latency={FLAGS.latency}", f"--rate={FLAGS.rate}"),
    ]
    with subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:  # It ends with its standard input.
        assert server.stdout
        assert server.stdin
        told = json.loads(server.stdout.readline())
        base = told.pop("BUCKET")
        os.environ.update(told)
        try:
            yield base
        finally:
            server.stdin.close()


def _measure_line(store: Store, folder: Path) -> None:
    """Prints what goes through the line, in MB/s."""
    content = folder / "content"
    content.write_bytes(os.urandom(100_000_000))
    up, down = [], []
    for _ in range(FLAGS.turns):
        start = time.perf_counter()
        store.upload(content, "content")
        up.append(100 / (time.perf_counter() - start))
        start = time.perf_counter()
        store.download("content", folder / "back")
        down.append(100 / (time.perf_counter() - start))
    print(f"the line: {statistics.median(up):.1f} MB/s up, {statistics.median(down):.1f} down",
          flush=True)  # fmt: skip


def _measure_checkpoints(base: str, folder: Path) -> None:
    """Prints what a checkpoint takes from the steps, as a share of what putting it up takes."""
    local, remote, uploads = [], [], []
    for turn in range(FLAGS.turns):
        local.append(_loop(str(folder / f"run-{turn}"))[0])
        seconds, taken = _loop(f"{base}/run-{turn}")
        remote.append(seconds)
        uploads += taken
    cost = statistics.median(remote) - statistics.median(local)
    upload = statistics.median(uploads)
    print(
        f"a checkpoint: put up and read back in {upload:.2f} s; the steps lose "
        f"{statistics.median(local):.2f} s to one in a folder, {cost:+.2f} s more to one in the "
        f"bucket: {cost / upload:.3f} of it",
        flush=True,
    )


def _loop(workdir: str) -> tuple[float, list[float]]:
    """Steps with a checkpoint in their midst.

    Returns:
        How many seconds later than without it they end, and how long it took until it was written.
    """
    from trainer import keras_settings

    keras_settings.import_keras()
    from trainer.workdir import mirror
    from trainer.workdir.checkpoints import Checkpoints
    from trainer.workdir.files import Workdir
    from trainer.workdir.train_state import TrainState

    model, steps, taken = _model(), round(FLAGS.between / _STEP), []
    with mirror.opened(workdir) as opened:
        checkpoints = Checkpoints(Workdir(workdir).checkpoints, {}, keep=1, mirror=opened)
        bare = _walk(steps)
        start = time.perf_counter()

        def written() -> None:
            taken.append(time.perf_counter() - start)

        checkpoints.begin(model, TrainState(step=1), written=written)
        with_one = time.perf_counter() - start + _walk(steps)
        checkpoints.wait()
    return with_one - bare, taken


def _walk(steps: int) -> float:
    """Returns how many seconds so many steps take."""
    start = time.perf_counter()
    for _ in range(steps):
        time.sleep(_STEP)
    return time.perf_counter() - start


def _model() -> Any:
    """VGG16 with the head of the reference recipe, compiled."""
    from trainer.config import TrainConfig
    from trainer.model.backbone import VGG16
    from trainer.train import create_model

    config = TrainConfig(data_dir="no data", workdir="no run")
    counts = dict.fromkeys(map(str, range(8)), 1)
    with contextlib.redirect_stdout(io.StringIO()):
        return create_model(config, 1e-3, counts, VGG16, steps_per_epoch=1)


def _measure_training(base: str, folder: Path) -> None:
    """Prints how fast a training from the bucket is, as a share of one from a folder."""
    for data_dir in (str(folder / "data"), f"{base}/data"):
        _run(
            "data_prep.build", f"--data_dir={data_dir}", f"--coco_dir={FLAGS.coco_dir}",
            "--image_size=0", "--label_policy=largest", "--num_shards=8", "--split_by=hash",
        )  # fmt: skip
    rates: dict[str, list[float]] = {"folder": [], "bucket": []}
    for turn in range(FLAGS.turns):
        rates["folder"].append(_train(folder, str(folder / "data"), f"local-{turn}"))
        rates["bucket"].append(_train(folder, f"{base}/data", f"remote-{turn}"))
    local, remote = (statistics.median(of_one) for of_one in rates.values())
    print(
        f"training: {local:.1f} photographs/s from a folder, {remote:.1f} from the bucket, "
        f"{remote / local:.2f}",
        flush=True,
    )


def _train(folder: Path, data_dir: str, name: str) -> float:
    """Returns photographs a second of the epochs behind the first."""
    workdir = folder / name
    _run(
        "trainer.main", f"--data_dir={data_dir}", f"--workdir={workdir}", *_RECIPE,
        f"--data_cache={folder / 'copies'}", f"--data_cache_gib={FLAGS.data_cache_gib}",
    )  # fmt: skip
    with (workdir / "history.csv").open() as file:
        rows = [*csv.DictReader(file)][1:]
    return statistics.median(float(row["images_per_second"]) for row in rows)


def _run(module: str, *arguments: str) -> None:
    line: Sequence[str] = [sys.executable, "-m", module, *arguments]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    command.run(main)
