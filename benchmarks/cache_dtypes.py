"""Trains one recipe from features of each dtype, and puts the courses side by side.

python -m benchmarks.cache_dtypes --data_dir=D --weights=imagenet --plot=curves.png
"""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from absl import flags
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from cli import command, paths
from cli.flags import options_of
from cli.page import ACCENT, INK, LINE
from trainer.config import TrainConfig

FLAGS = flags.FLAGS

paths.define("data_dir", None, "What data_prep.build made.", required=True)
paths.define("weights", TrainConfig.weights, "As trainer.main takes it.")
flags.DEFINE_integer("epochs", TrainConfig.epochs, "Of each run.", lower_bound=2)
paths.define("plot", None, "Where the picture goes, a PNG; unset: none is drawn.")

_FIGURES = {"loss": "Training loss", "val_loss": "Validation loss"}
_STYLES = {"float32": (ACCENT, "-"), "bfloat16": ("#dc2626", "--"), "float16": ("#047857", ":")}

Course = list[dict[str, float]]
"""A row for each epoch, as in history.csv."""


def main(arguments: list[str]) -> None:
    """Prints the figures of each epoch, and how far they are from those of float32."""
    command.refuse_arguments(arguments)
    courses: dict[str, Course] = {}
    for dtype in options_of(TrainConfig)["cache_dtype"].choices:
        with tempfile.TemporaryDirectory() as workdir:
            courses[dtype], megabytes = _train(Path(workdir) / "run", dtype)
        print(f"{dtype}: {megabytes:.0f} MB of features", flush=True)
    for figure, name in _FIGURES.items():
        _print(name, {dtype: [row[figure] for row in rows] for dtype, rows in courses.items()})
    if FLAGS.plot:
        _draw(courses).savefig(FLAGS.plot, dpi=110)


def _train(workdir: Path, dtype: str) -> tuple[Course, float]:
    """Returns history.csv and the megabytes of the features."""
    subprocess.run(
        [
            *(sys.executable, "-m", "trainer.main", "--num_gpus=0", "--deterministic"),
            *(f"--data_dir={FLAGS.data_dir}", f"--workdir={workdir}", "--cache_features=on"),
            *(f"--weights={FLAGS.weights}", f"--epochs={FLAGS.epochs}", f"--cache_dtype={dtype}"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with (workdir / "history.csv").open() as file:
        course = [{name: float(v) for name, v in row.items()} for row in csv.DictReader(file)]
    shards = (workdir / "features").rglob("*.tfrecord*")
    return course, sum(shard.stat().st_size for shard in shards) / 1e6


def _print(name: str, figures: dict[str, list[float]]) -> None:
    print(f"{name:<16}" + "".join(f"{dtype:>10}" for dtype in figures))
    for epoch, row in enumerate(zip(*figures.values(), strict=True), 1):
        print(f"  epoch {epoch:<8}" + "".join(f"{value:>10.4f}" for value in row))
    for dtype in ("bfloat16", "float16"):
        pairs = zip(figures[dtype], figures["float32"], strict=True)
        apart = max(abs(rounded - exact) for rounded, exact in pairs)
        print(f"  {dtype} is {apart:.1e} from float32 at most")


def _draw(courses: dict[str, Course]) -> Figure:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, 2), _FIGURES.items(), strict=True):
        _draw_course(axes, name, title, courses)
    figure.axes[0].legend(frameon=False, fontsize=9.5, labelcolor=INK)
    return figure


def _draw_course(axes: Any, name: str, title: str, courses: dict[str, Course]) -> None:
    for dtype, rows in courses.items():
        colour, style = _STYLES[dtype]
        epochs, values = [row["epoch"] for row in rows], [row[name] for row in rows]
        axes.plot(epochs, values, style, color=colour, lw=1.8, label=dtype)
    if name == "loss":
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    else:
        axes.set_ylim(bottom=0)
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel("epoch", fontsize=9.5, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))
    axes.tick_params(length=0, which="both", labelsize=9.5, labelcolor=INK)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.spines[:].set_visible(False)


if __name__ == "__main__":
    command.run(main)
