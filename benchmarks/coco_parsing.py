"""Compares the reading of COCO's annotations with pycocotools on a file of COCO's full size.

pip install pycocotools; python -m benchmarks.coco_parsing

The file is made up, but has what instances_train2017.json has: 118,287 images, 860,001 annotations
with polygons, 448 MB. Each reader runs in a process of its own.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from cli import command, paths
from data_prep.config import COCO_ANIMALS

FLAGS = flags.FLAGS

flags.DEFINE_integer("images", 118_287, "Of the file.", lower_bound=1)
flags.DEFINE_integer("annotations", 860_001, "Of the file.", lower_bound=1)
flags.DEFINE_integer("runs", 5, "Of which the medians are printed.", lower_bound=1)
paths.define("peer_python", sys.executable, "The Python that has pycocotools.")

_NUM_CATEGORIES = 80
_CORNERS = (6, 38)  # Of a polygon, so that an annotation takes COCO's 470 bytes.
_MEASURE = """
import resource, sys, time
start = time.perf_counter()
{statements}
seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
_READERS = {
    "data_prep.sources.coco": "from data_prep.config import COCO_ANIMALS\n"
    "from data_prep.sources import coco\n"
    "coco.read_annotations([sys.argv[1]], sys.argv[2], COCO_ANIMALS)",
    "pycocotools": "import contextlib\nfrom pycocotools.coco import COCO\n"
    "with contextlib.redirect_stdout(sys.stderr): COCO(sys.argv[1])",
}


class _Run(NamedTuple):
    seconds: float
    megabytes: float


def main(arguments: list[str]) -> None:
    """Prints seconds and peak memory of both, and their ratios."""
    command.refuse_arguments(arguments)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "instances_train2017.json"
        _write(file, FLAGS.images, FLAGS.annotations)
        size = file.stat().st_size / 1e6
        print(f"{FLAGS.images} images, {FLAGS.annotations} annotations, {size:.0f} MB")
        runs: dict[str, list[_Run]] = {name: [] for name in _READERS}
        for _ in range(FLAGS.runs):  # In turn, so that a busy moment hits all alike.
            for name in _READERS:
                runs[name].append(_run(name, file))
    medians = {}
    for name, repetitions in runs.items():
        seconds, megabytes = (
            statistics.median(values) for values in zip(*repetitions, strict=True)
        )
        medians[name] = _Run(seconds, megabytes)
        print(f"{name}: {seconds:.1f} s, {megabytes:.0f} MB at most")
    ours, theirs = medians.values()
    print(
        f"data_prep.sources.coco reads {theirs.seconds / ours.seconds:.1f} times as fast, in "
        f"{ours.megabytes / theirs.megabytes:.0%} of the memory"
    )


def _run(name: str, file: Path) -> _Run:
    code = _MEASURE.format(statements=_READERS[name])
    python = FLAGS.peer_python if name == "pycocotools" else sys.executable
    done = subprocess.run(
        [python, "-c", code, str(file), str(file.parent)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    seconds, kibibytes = map(float, done.stdout.split())
    return _Run(seconds, kibibytes * 1024 / 1e6)


def _write(path: Path, num_images: int, num_annotations: int) -> None:
    """Writes the file piece by piece: it is larger than what should be in memory at once."""
    draws = random.Random(0)
    names = [*COCO_ANIMALS, *(f"thing {i}" for i in range(_NUM_CATEGORIES - len(COCO_ANIMALS)))]
    categories = [{"supercategory": "thing", "id": i, "name": name} for i, name in enumerate(names)]
    licenses = [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 1, "name": "BY"}]
    with path.open("w") as file:
        file.write('{"info": {"year": 2017}, "licenses": ' + json.dumps(licenses))
        file.write(', "images": [')
        _write_list(file, (_image(number) for number in range(num_images)))
        file.write('], "annotations": [')
        polygons = [_polygon(draws) for _ in range(5000)]
        _write_list(
            file,
            (
                _annotation(number, draws.randrange(num_images), draws, polygons)
                for number in range(num_annotations)
            ),
        )
        file.write('], "categories": ' + json.dumps(categories) + "}")


def _write_list(file: Any, items: Iterator[dict[str, Any]]) -> None:
    for number, item in enumerate(items):
        file.write((", " if number else "") + json.dumps(item))


def _image(number: int) -> dict[str, Any]:
    name = f"{number:012d}.jpg"
    return {
        "license": 1, "file_name": name, "height": 480, "width": 640, "id": number,
        "coco_url": f"http://images.cocodataset.org/train2017/{name}",
        "date_captured": "2013-11-14 16:28:13",
        "flickr_url": f"http://farm5.staticflickr.com/4153/{number:010d}_d3acb57926_z.jpg",
    }  # fmt: skip


def _polygon(draws: random.Random) -> list[float]:
    corners = draws.randint(*_CORNERS)
    return [round(draws.uniform(10, 600), 2) for _ in range(2 * corners)]


def _annotation(
    number: int, image: int, draws: random.Random, polygons: list[list[float]]
) -> dict[str, Any]:
    return {
        "segmentation": [draws.choice(polygons)], "area": round(draws.uniform(100, 90_000), 4),
        "iscrowd": int(draws.random() < 0.01), "image_id": image,
        "bbox": [round(draws.uniform(0, 300), 2) for _ in range(4)],
        "category_id": draws.randrange(_NUM_CATEGORIES), "id": number,
    }  # fmt: skip


if __name__ == "__main__":
    command.run(main)
