"""Turns photographs with annotations into sharded TFRecords: `python -m data_prep.build`.

source -> selection (labels, classes, splits) -> plan -> shards, in parallel -> commit
"""

import atexit
import dataclasses
import gc
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags
from tqdm import tqdm

from cli import command, machine, paths
from data_prep import beam, commit, identity, lock, plan, runners, selection, summary
from data_prep.config import (
    ANIMALS_URL,
    COCO_ANIMALS,
    COCO_URL,
    CONFLICTS,
    LABEL_POLICIES,
    RUNNERS,
    SOURCES,
    SPLITS_BY,
    BuildConfig,
)
from data_prep.examples import splits
from data_prep.examples.tolerance import check_rejections
from data_prep.selection import Selection
from data_prep.shards import ShardResult, ShardTask, build_shard, finished, was_built_alike
from data_prep.sources import box_checks, coco, folder
from data_prep.sources.photographs import Rejection, Source
from tfrecords import files, naming
from tfrecords.manifest import Manifest

FLAGS = flags.FLAGS

_DEFAULT = BuildConfig  # Each default stands once, in the dataclass.

paths.define("data_dir", None, "Where the dataset goes.", required=True)
flags.DEFINE_enum(
    "source",
    _DEFAULT.source,
    SOURCES,
    "Drawn animals, COCO detections, or one folder per class. Unset: what the folders given are.",
)
paths.define(
    "coco_dir",
    _DEFAULT.coco_dir,
    "Holds annotations and photographs as COCO, CVAT, Label Studio or Roboflow lay them out.",
)
paths.define_list("annotations", list(_DEFAULT.annotations), "COCO files, in place of --coco_dir.")
paths.define("images_dir", _DEFAULT.images_dir, "The photographs of --annotations.")
paths.define(
    "folder_dir", _DEFAULT.folder_dir, "Holds a folder per class, or train/ and val/ with one each."
)
flags.DEFINE_bool(
    "download",
    _DEFAULT.download,
    "Fetch what is missing: COCO's annotations and the photographs that the build needs into "
    "--coco_dir, or cs231n's coco-animals into --folder_dir. Can be stopped and started again.",
)
flags.DEFINE_string(
    "download_url",
    _DEFAULT.download_url,
    f"A mirror of {COCO_URL} (of {ANIMALS_URL} for --source=folder), with the same paths below it.",
)
flags.DEFINE_integer(
    "num_downloads", _DEFAULT.num_downloads, "Photographs fetched at once.", lower_bound=1
)
flags.DEFINE_integer(
    "synthetic_images", _DEFAULT.synthetic_images, "How many animals to draw.", lower_bound=1
)
flags.DEFINE_integer("seed", _DEFAULT.seed, "Of the drawn animals.")
flags.DEFINE_list(
    "classes",
    None,
    f"Category names, or `all`. Unset: {','.join(COCO_ANIMALS)}; of class folders: all. A name "
    "with a comma stands in double quotes: --classes='\"cat, wild\",dog'.",
)
flags.DEFINE_integer(
    "min_examples",
    _DEFAULT.min_examples,
    "Of a class. With `all` rarer ones are left out, by name, and it is 2 unless set: one to train "
    "and one to validate on. With classes by name it is 1, and rarer ones are refused.",
    lower_bound=1,
)
flags.DEFINE_enum(
    "conflicts",
    _DEFAULT.conflicts,
    CONFLICTS,
    "One photograph under two labels: leave it out, keep both, or end the build.",
)
flags.DEFINE_enum(
    "label_policy",
    _DEFAULT.label_policy,
    LABEL_POLICIES,
    "single: photographs with exactly one of the classes; largest: the largest instance decides; "
    "crop: every instance is cut out.",
)
flags.DEFINE_float(
    "min_area",
    _DEFAULT.min_area,
    "Smallest share of the image that the labelled instance (its box) must cover.",
    lower_bound=0.0,
    upper_bound=1.0,
)
flags.DEFINE_float(
    "crop_margin",
    _DEFAULT.crop_margin,
    "Added on each side of a crop, as a share of the box.",
    lower_bound=0.0,
)
flags.DEFINE_enum(
    "split_by",
    _DEFAULT.split_by,
    SPLITS_BY,
    "auto: the source's splits where it has them, else hash; hash: stratified, by a salted hash of "
    "the image's content; source: as the source has it. A split that the source lacks is cut from "
    "its train by hash.",
)
flags.DEFINE_float("val_fraction", _DEFAULT.val_fraction, "Share of `val`, where hash decides.")
flags.DEFINE_float("test_fraction", _DEFAULT.test_fraction, "Share of `test`, where hash decides.")
flags.DEFINE_string("salt", _DEFAULT.salt, "Another salt gives another split and another order.")
flags.DEFINE_bool(
    "drop_near_duplicates",
    _DEFAULT.drop_near_duplicates,
    "Leave out photographs of `train` that look like one of another split. They are listed anyway.",
)
flags.DEFINE_integer(
    "image_size",
    _DEFAULT.image_size,
    "Short side as stored, in pixels; 0 keeps the original bytes.",
    lower_bound=0,
)
flags.DEFINE_integer(
    "num_shards",
    _DEFAULT.num_shards,
    "Shards of each split; unset: chosen from --shard_mib.",
    lower_bound=1,
)
flags.DEFINE_integer("shard_mib", _DEFAULT.shard_mib, "A shard's size in MiB.", lower_bound=1)
flags.DEFINE_integer(
    "num_workers", _DEFAULT.num_workers, "Processes; unset: this machine's cores.", lower_bound=1
)
flags.DEFINE_enum(
    "runner", _DEFAULT.runner, RUNNERS, "local: processes of this machine; beam: Apache Beam."
)
flags.DEFINE_list(
    "beam_args",
    list(_DEFAULT.beam_args),
    "Beam's own options, such as --runner=DataflowRunner,--project=P; unset: on this machine.",
)
flags.DEFINE_integer(
    "task_index",
    _DEFAULT.task_index,
    "Builds one task's share: shards task_index, task_index + num_tasks, and so on.",
    lower_bound=0,
)
flags.DEFINE_integer(
    "num_tasks", _DEFAULT.num_tasks, "Tasks that share the shards out.", lower_bound=1
)
flags.DEFINE_boolean(
    "commit_only", _DEFAULT.commit_only, "Completes the dataset from the shards of all tasks."
)
flags.DEFINE_float(
    "max_bad_fraction",
    _DEFAULT.max_bad_fraction,
    "Above this share of unusable images the build fails.",
)
flags.DEFINE_bool(
    "overwrite", _DEFAULT.overwrite, "Replace another dataset that stands in --data_dir."
)
flags.DEFINE_bool(
    "dry_run", _DEFAULT.dry_run, "Say what would be built, from which photographs; write nothing."
)


class Plan(NamedTuple):
    """What is to be built, and what it was selected from.

    Attributes:
        config: Of the build.
        source: Everything that the source holds.
        selection: What of it becomes examples.
        tasks: The shards to be.
    """

    config: BuildConfig
    source: Source
    selection: Selection
    tasks: list[ShardTask]


def main(arguments: list[str]) -> None:
    """Builds what the flags ask for and says what came of it."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(BuildConfig)
    if config.dry_run:
        planned = dry_run(config)
        lines = summary.of_plan(config, planned.source, planned.selection, planned.tasks)
    elif config.task_index is not None:
        results = build_share(config)
        lines = [f"Task {config.task_index} of {config.num_tasks}: {len(results)} shards finished"]
    else:
        planned, manifest = complete(config)
        lines = summary.of_dataset(config, planned.source, planned.selection, manifest)
    print("\n".join(lines))


def build(config: BuildConfig) -> Manifest:
    """Builds the dataset; one that was interrupted is completed. As `complete`."""
    return complete(config)[1]


def complete(config: BuildConfig) -> tuple[Plan, Manifest]:
    """Builds the dataset, or what is missing of it, and returns what it was made from too.

    Raises:
        ValueError: if the source, or what is left of it, cannot make a dataset, or if another
            dataset stands in the folder.
        RuntimeError: if another build is at work in the folder.
    """
    config, source = _read_ahead(config)
    data_dir = Path(config.data_dir)
    with lock.hold(_state_dir(data_dir)):
        files.remove_incomplete(data_dir)
        planned = _plan(config, source or draw_source(config, data_dir))
        had_dataset = False
        if config.commit_only:
            results = _finished_shards(planned.tasks, config)
        else:
            had_dataset = _uncommit(data_dir, planned.tasks)
            commit.prepare()
            results = _build_shards(planned.tasks, config)
        try:
            return planned, _commit(planned, results)
        except ValueError as error:
            gone = f" The dataset that was in {data_dir} is not complete any more."
            raise ValueError(f"{error}{gone if had_dataset else ''}") from error


def build_share(config: BuildConfig) -> list[ShardResult]:
    """Builds the shards of one task; `build` with `commit_only` completes the dataset.

    Raises:
        ValueError: if the source, or what is left of it, cannot make a dataset.
        RuntimeError: if the same task, or a whole build, is at work in the folder.
    """
    config, source = _read_ahead(config)
    data_dir = Path(config.data_dir)
    state = _state_dir(data_dir)
    with lock.hold(state, config.task_index):
        with lock.turn(state):  # The first to come draws or fetches what the others find.
            planned = _plan(config, source or draw_source(config, data_dir))
            share = planned.tasks[config.task_index :: config.num_tasks]
        for task in share:
            files.remove_incomplete(data_dir, task.file)
        _uncommit(data_dir, share)
        return _build_shards(share, config)


def dry_run(config: BuildConfig) -> Plan:
    """Plans the build and writes nothing; animals are drawn into a folder that goes again."""
    config, source = _read_ahead(config)
    with tempfile.TemporaryDirectory() as folder:
        return _plan(config, source or draw_source(config, Path(folder)))


def _read_ahead(config: BuildConfig) -> tuple[BuildConfig, Source | None]:
    """Reads what is to be built from before anything is created, and settles the splits.

    Returns:
        The config with its `split_by` settled; and the source, None where it is yet to be drawn.
    """
    _check_is_folder(Path(config.data_dir))
    if config.runner == "local" and _num_workers(config) > 1 and not config.commit_only:
        runners.prepare()
    source = None if config.source == "synthetic" else read_source(config)
    if source is not None:
        print(source.description, flush=True)
        box_checks.warn_or_refuse(source.doubts, config.label_policy)
        split_by = splits.settle(config.split_by, source.photographs)
    else:  # Drawings have a train and a val.
        split_by = "source" if config.split_by == "auto" else config.split_by
    config = dataclasses.replace(config, split_by=split_by)
    identity.check_options(config)
    return config, source


def _uncommit(data_dir: Path, tasks: Sequence[ShardTask]) -> bool:
    """Takes away what says that a dataset is complete, unless none of its bytes will change.

    Returns:
        Whether there was such a dataset, which there is no more.
    """
    if all(map(was_built_alike, tasks)):
        return False
    had_dataset = (data_dir / naming.MANIFEST).exists()
    commit.uncommit(data_dir)
    return had_dataset


def _check_is_folder(data_dir: Path) -> None:
    there = next(path for path in (data_dir, *data_dir.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(
            f"data_dir is not a directory. Received: {data_dir}, where {there} is a file."
        )


def _state_dir(data_dir: Path) -> Path:
    state = data_dir / naming.BUILD_STATE
    state.mkdir(parents=True, exist_ok=True)
    return state


def _plan(config: BuildConfig, source: Source) -> Plan:
    selected = selection.select(config, source)
    print(f"Splits: {splits.describe(config, source.photographs)}", flush=True)
    seen: set[str] = set()
    if config.drop_near_duplicates:
        seen = plan.seen_in_training(
            config, selected.candidates, selected.contents, selected.splits_of
        )
        selected.dropped["near_duplicate_of_another_split"] = len(seen)
    tasks = plan.plan_shards(
        config, selected.candidates, selected.digests, selected.splits_of, seen
    )
    identity.check_source(config, selected.source.classes, tasks)
    return Plan(config, source, selected, tasks)


def _commit(planned: Plan, results: list[ShardResult]) -> Manifest:
    config, selected = planned.config, planned.selection
    classes = selected.source.classes
    found = [rejection for result in results for rejection in result.rejections]
    unusable = list(dict.fromkeys(selected.rejections + found))  # A photograph has many crops.
    check_rejections(config, unusable, selected.photographs)
    counts = commit.count_examples(results, classes)
    _check_left(counts, unusable)
    return commit.commit(
        Path(config.data_dir),
        results,
        source=selected.source,
        classes=classes,
        options=identity.recorded(config),
        dropped=selected.dropped,
        rejections=unusable,
        conflicting=selected.conflicting,
        photographs=[candidate.photograph for candidate in selected.candidates],
        tasks=planned.tasks,
    )


def _check_left(counts: Mapping[str, Mapping[str, int]], unusable: Sequence[Rejection]) -> None:
    """Refuses a dataset that unusable photographs have cost a split, or a class to train on."""
    empty = [f"the split {split!r}" for split, of in counts.items() if not sum(of.values())]
    empty += [name for name, number in counts.get("train", {}).items() if not number]
    if empty:
        first = f", such as {unusable[0].file}: {unusable[0].reason}" if unusable else ""
        raise ValueError(
            f"No example is left to train on for {', '.join(empty)}: every photograph that was "
            f"planned is unusable{first}. All are in {naming.REJECTED}. Mend them, or take fewer "
            "--classes."
        )


def read_source(config: BuildConfig) -> Source:
    """Reads the photographs that the config names."""
    if config.download and not config.dry_run:
        _download_source(config)
    try:
        return _read_what_is_there(config)
    except ValueError as error:
        if config.download and config.dry_run:
            raise ValueError(f"{error} A --dry_run fetches nothing.") from error
        raise


def _read_what_is_there(config: BuildConfig) -> Source:
    if config.source == "folder":
        return folder.read_folders(str(config.folder_dir), config.wanted)
    if config.annotations:
        return coco.read_annotations(config.annotations, str(config.images_dir), config.wanted)
    return coco.read_coco_dir(str(config.coco_dir), config.wanted)


def draw_source(config: BuildConfig, folder: Path) -> Source:
    """Draws animals below a folder, and reads them as COCO's photographs are read."""
    from data_prep.synthetic import dataset  # No other source needs what draws.

    drawn = folder / "synthetic_coco"
    dataset.write_coco(drawn, num_images=config.synthetic_images, seed=config.seed)
    source = coco.read_coco_dir(str(drawn), config.wanted)
    description = f"Drawn animals: {len(source.photographs)} drawings, no photographs"
    print(description, flush=True)
    return source._replace(kind="Drawn animals", description=description)


def _download_source(config: BuildConfig) -> None:
    """Fetches what says which photographs there are: annotations, or a folder for each class."""
    from data_prep.sources import download  # Brings requests, an eighth of the command's start.
    from data_prep.sources.http import Downloader

    if config.source == "folder":
        download.fetch_animals(Downloader(), str(config.folder_dir), config.download_url)
    elif config.coco_dir:
        download.fetch_annotations(Downloader(), config.coco_dir, config.download_url)


def _build_shards(tasks: Sequence[ShardTask], config: BuildConfig) -> list[ShardResult]:
    if config.runner == "beam":
        beam.build_shards(tasks, config.beam_args)
        return _finished_shards(tasks, config)
    examples = sum(len(task.examples) for task in tasks)
    shown = tqdm(total=examples, unit="image", disable=not sys.stderr.isatty())
    results = []
    with shown:
        for result in runners.run(build_shard, tasks, _num_workers(config)):
            results.append(result)
            shown.update(result.shard.examples + len(result.rejections))
    return results


def _num_workers(config: BuildConfig) -> int:
    return config.num_workers or machine.cores()


def _finished_shards(tasks: Sequence[ShardTask], config: BuildConfig) -> list[ShardResult]:
    """Collects what tasks, or Beam's workers, have left in the folder."""
    results = [finished(task) for task in tasks]
    missing = [index for index, result in enumerate(results) if result is None]
    if missing:
        raise ValueError(
            "Shards are missing, or of other options or photographs. Received: "
            f"{', '.join(tasks[index].file for index in missing)}. "
            f"{_command_for(missing, config.num_tasks)}"
        )
    return [result for result in results if result is not None]


def _command_for(missing: Sequence[int], num_tasks: int | None) -> str:
    if num_tasks is None:
        return "Start the same command without --commit_only to build them."
    indices = ", ".join(f"--task_index={i}" for i in sorted({i % num_tasks for i in missing}))
    return f"Start the same command with {indices} in place of --commit_only."


def run() -> None:
    """The console script."""
    atexit.register(gc.freeze)  # Python need not search all objects for garbage as it ends.
    command.run(main)


if __name__ == "__main__":
    run()
