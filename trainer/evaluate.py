"""Evaluates a trained run on a split: `python -m trainer.evaluate --workdir=W --data_dir=D`."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cli import command, flags
from cli.data_cache import DataCache
from cli.flags import BucketPath, Positive, matching
from cli.progress import Progress
from trainer import keras_settings

_Name = Annotated[
    str,
    matching(r"[^./\\\0][^/\\\0]*", "must be a plain name, without slashes or a dot at its start"),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(DataCache):
    """Options of `python -m trainer.evaluate`, each above its help."""

    workdir: BucketPath
    """Holds the trained run."""
    data_dir: BucketPath
    """What data_prep.build made."""
    split: str = "val"
    """Which split."""
    batch_size: Positive = 32
    """Images at a time."""
    name: _Name | None = None
    """The figures go to WORKDIR/evaluations/NAME. Unset: the split and the first 8 digits of the
    dataset's digest."""
    overwrite: bool = False
    """Also over figures of the same name on other data."""

    def __post_init__(self) -> None:
        flags.check(self)


flags.define(EvaluateConfig)


def main(arguments: list[str]) -> None:
    """Prints the figures of the split, and writes them beside the run's own."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(EvaluateConfig)
    print(json.dumps(evaluate(config), indent=2))


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Returns, and writes, the figures of a run on a split; every example counts once.

    They go to WORKDIR/evaluations/NAME, as `metrics.json` and `predictions.csv`: the run's own
    metrics.json stays as it is. They name the model that they are of by its file's digest.

    Raises:
        ValueError: if there is no such run, dataset or split, if their classes differ, or if NAME
            holds figures on other data, or can be no folder.
    """
    from tfrecords.manifest import read_manifest
    from tfrecords.shard_cache import ShardCache
    from trainer import checks
    from trainer.data.split import find_split
    from trainer.results import figures
    from trainer.workdir import mirror
    from trainer.workdir.files import Workdir, write_json

    run_files = Workdir.reading(config.workdir)
    classes = checks.check_trained(run_files)
    manifest = read_manifest(config.data_dir)
    cache = ShardCache(config.data_cache, config.data_cache_gib)
    split = find_split(config.data_dir, manifest, config.split, cache)
    checks.check_classes(classes, manifest)
    checks.check_shards(config.data_dir, manifest, config.split, cache)
    name = config.name or f"{config.split}-{manifest.digest[:8]}"
    mirror.read(config.workdir, [f"evaluations/{name}/metrics.json"], writes=True)
    folder = run_files.evaluation(name)
    data_identity = {"split": config.split, "dataset_digest": manifest.digest}
    model_digest = run_files.model_digest()
    if not config.overwrite:
        _refuse_other_data(folder, data_identity)
        _say_other_model(folder, model_digest)
    _make(folder)

    _say_fold(run_files.config)
    _say(f"Evaluating {config.workdir} on {split.num_examples:,} photographs of {config.split}.")
    _say("Loading TensorFlow and the model ...")
    keras_settings.import_keras(find_devices=True)
    from trainer.data.records import naming_failures
    from trainer.inference.classifier import Classifier
    from trainer.results import evaluation

    classifier = Classifier.load(run_files.root)
    progress = Progress(split.num_examples, "photographs", lines_to=sys.stderr)
    with naming_failures(split):
        with progress:
            probabilities = classifier.predict_split(split, config.batch_size, progress.add)
        content = {
            **evaluation.figures_of(probabilities, split),
            **evaluation.before_temperature(probabilities, split, classifier.temperature),
            **data_identity,
            "model_digest": model_digest,
        }
        evaluation.write_predictions(folder / "predictions.csv", probabilities, split)
    write_json(folder / "metrics.json", content)  # Last: it says that all is there.
    mirror.put(folder / "predictions.csv", folder / "metrics.json")
    _say(f"{figures.in_words(content)} Written to {mirror.shown(folder)}.")
    return content


def _refuse_other_data(folder: Path, data_identity: Mapping[str, str]) -> None:
    """Refuses a folder that holds figures on another split or dataset."""
    from trainer.workdir.mirror import shown

    path = folder / "metrics.json"
    there = _figures(folder) or data_identity
    differences = [
        f"{key}: {there.get(key)} there, {value} here"
        for key, value in data_identity.items()
        if there.get(key) != value
    ]
    if differences:
        raise ValueError(
            f"The name stands for figures on other data. Received: {shown(path)}; "
            f"{'; '.join(differences)}. Take another --name, or replace them with --overwrite."
        )


def _say_other_model(folder: Path, digest: str) -> None:
    """Says that figures are replaced of which the model has been trained further since."""
    from trainer.workdir.mirror import shown

    before = (_figures(folder) or {}).get("model_digest", digest)
    if before != digest:
        _say(
            f"The figures in {shown(folder)} are of an earlier model of this run, and are replaced."
        )


def _say_fold(path: Path) -> None:
    """Says so where the model has seen most of the dataset that its cross-validation was of."""
    from trainer.workdir.files import read_json

    fold = read_json(path).get("recipe", {}).get("fold") if path.exists() else None
    if fold:
        _say(
            f"The run is fold {fold} of a cross-validation, trained on the other folds of all "
            "splits: figures on photographs that it was trained on are no measure."
        )


def _figures(folder: Path) -> dict[str, Any] | None:
    """Returns the figures that stand in a folder; None where there are none.

    Raises:
        ValueError: if they are damaged.
    """
    from trainer.workdir.files import read_json

    path = folder / "metrics.json"
    content = read_json(path) if path.exists() else None
    return content if isinstance(content, dict) else None


def _make(folder: Path) -> None:
    """Makes the folder of the figures before the work, so that a failure costs nothing.

    Raises:
        ValueError: if so.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"The folder of the figures cannot be made: {error.strerror}. Received: {folder}. "
            "Take another --name."
        ) from error


def _say(line: str) -> None:
    """Prints on stderr: stdout holds the figures alone."""
    print(line, file=sys.stderr, flush=True)


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
