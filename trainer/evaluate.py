"""Evaluates a trained run on a split: `python -m trainer.evaluate --workdir=W --data_dir=D`."""

import json
from typing import Any

from absl import flags

from cli import command, paths
from trainer import keras_settings

FLAGS = flags.FLAGS

paths.define("workdir", None, "Holds the trained run.", schemes=paths.BUCKETS, required=True)
paths.define("data_dir", None, "What data_prep.build made.", schemes=paths.BUCKETS, required=True)
flags.DEFINE_string("split", "val", "Which split.")
flags.DEFINE_integer("batch_size", 32, "Images at a time.", lower_bound=1)


def main(arguments: list[str]) -> None:
    """Prints metrics.json of the split and writes it into the workdir."""
    command.refuse_arguments(arguments)
    figures = evaluate(FLAGS.workdir, FLAGS.data_dir, FLAGS.split, FLAGS.batch_size)
    print(json.dumps(figures, indent=2))


def evaluate(workdir: str, data_dir: str, split_name: str, batch_size: int) -> dict[str, Any]:
    """Returns, and writes, the figures of a run on a split; every example counts once.

    Raises:
        ValueError: if there is no such run, dataset or split, or if their classes differ.
    """
    keras_settings.import_keras()
    from tfrecords.manifest import read_manifest
    from trainer import evaluation
    from trainer.model import load_model
    from trainer.split import find_split
    from trainer.workdir import Workdir, read_json, write_json

    run_files = Workdir(workdir)
    manifest = read_manifest(data_dir)
    split = find_split(data_dir, manifest, split_name)
    classes = read_json(run_files.classes)
    if classes != manifest.classes:
        raise ValueError(
            "The run and the dataset have different classes. Received: "
            f"{', '.join(classes)} (workdir); {', '.join(manifest.classes)} (data_dir)."
        )
    model = load_model(run_files)
    probabilities = evaluation.predict_split(model, split, batch_size)
    figures = evaluation.figures_of(probabilities, split)
    write_json(run_files.metrics, figures)
    return figures


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
