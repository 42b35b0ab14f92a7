"""Swaps labels of photographs, and counts how many of them a cross-validation names.

`python -m benchmarks.label_issues --coco_dir=COCO --work_dir=DIR [--recipe=best]`
"""

import csv
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from absl import flags

from cli import command, paths

_SWAPPED = 10
_NAMED_FIRST = 20
_BUILD = ("--split_by=hash", "--min_area=0.02")

FLAGS = flags.FLAGS
paths.define("coco_dir", None, "Photographs with annotations.", required=True)
paths.define("work_dir", None, "Where data and runs go.", required=True)
flags.DEFINE_string("recipe", "best", "The trainer's --recipe.")
paths.define("weights", "imagenet", "The trainer's --weights.")
flags.DEFINE_integer("image_size", 576, "The builder's --image_size.")
flags.DEFINE_integer("seed", 0, "Another one swaps other labels.")


def main(arguments: list[str]) -> None:
    """Prints which swapped labels are among the first that are named."""
    command.refuse_arguments(arguments)
    coco, work = Path(FLAGS.coco_dir), Path(FLAGS.work_dir)
    _build(coco, work / "plain")
    swapped = swap(coco, work / "coco", _labels(work / "plain"))
    _build(work / "coco", work / "data")
    _start("trainer.crossval", f"--data_dir={work / 'data'}", f"--workdir={work / 'run'}",
           f"--recipe={FLAGS.recipe}", f"--weights={FLAGS.weights}")  # fmt: skip
    with (work / "run" / "label_issues.csv").open() as file:
        named = [row["id"] for row in csv.DictReader(file)]
    found = [place for place, id in enumerate(named, 1) if id in swapped]
    first = sum(place <= _NAMED_FIRST for place in found)
    print(f"{len(named)} labels are named; the swapped ones at places {found}.")
    print(f"{first} of {len(swapped)} swapped labels are among the first {_NAMED_FIRST}.")


def swap(coco: Path, changed: Path, labels: dict[str, str]) -> dict[str, str]:
    """Writes a COCO folder in which some photographs are annotated as another class.

    Returns:
        {image id: the class that it is annotated as now}.
    """
    draws, classes = random.Random(FLAGS.seed), sorted({*labels.values()})
    chosen = draws.sample(sorted(labels), _SWAPPED)
    swapped = {id: draws.choice([c for c in classes if c != labels[id]]) for id in chosen}
    (changed / "annotations").mkdir(parents=True, exist_ok=True)
    for path in sorted((coco / "annotations").glob("instances_*.json")):
        content = _relabelled(json.loads(path.read_text()), labels, swapped)
        (changed / "annotations" / path.name).write_text(json.dumps(content))
    for folder in coco.iterdir():
        link = changed / folder.name
        if folder.is_dir() and folder.name != "annotations" and not link.exists():
            link.symlink_to(folder.resolve(), target_is_directory=True)
    return swapped


def _relabelled(
    content: dict[str, Any], labels: dict[str, str], swapped: dict[str, str]
) -> dict[str, Any]:
    ids = {category["name"]: category["id"] for category in content["categories"]}
    for annotation in content["annotations"]:
        image = str(annotation["image_id"])
        if image in swapped and annotation["category_id"] == ids.get(labels[image]):
            annotation["category_id"] = ids[swapped[image]]
    return content


def _labels(data_dir: Path) -> dict[str, str]:
    """The class of each photograph of a dataset, by its id."""
    from tfrecords.manifest import read_manifest
    from trainer.data.dataset import read_examples, whole_dataset

    manifest = read_manifest(data_dir)
    examples = read_examples(whole_dataset(str(data_dir), manifest))
    names = [manifest.classes[label] for label in examples.index.labels]
    return dict(zip(map(str, examples.ids), names, strict=True))


def _build(coco: Path, data_dir: Path) -> None:
    _start("data_prep.build", f"--coco_dir={coco}", f"--data_dir={data_dir}",
           f"--image_size={FLAGS.image_size}", *_BUILD)  # fmt: skip


def _start(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)


if __name__ == "__main__":
    command.run(main)
