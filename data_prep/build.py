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

from tqdm import tqdm

from cli import command, flags, machine
from data_prep import beam, commit, identity, lock, runners, selection, summary, target
from data_prep.config import BuildConfig
from data_prep.examples import splits
from data_prep.lookalikes import find_lookalikes
from data_prep.plan import plan_shards
from data_prep.rejections import check_rejections
from data_prep.rules import Rule
from data_prep.selection import Selection
from data_prep.shards import ShardResult, ShardTask, build_shard, finished, were_built_alike
from data_prep.sources import box_checks, coco, folder
from data_prep.sources.photographs import Rejection, Source
from data_prep.target import Target
from tfrecords import naming
from tfrecords.manifest import Manifest

flags.define(BuildConfig)


class Plan(NamedTuple):
    """What is to be built, and what it was selected from.

    Attributes:
        config: The build's options, with `split_by` settled.
        source: Everything there is to select from.
        selection: What was selected, and what was left out.
        tasks: A task for each shard.
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
        lines = summary.describe_plan(config, planned.source, planned.selection, planned.tasks)
    elif config.task_index is not None:
        results = build_task(config)
        lines = [f"Task {config.task_index} of {config.num_tasks}: {len(results)} shards finished"]
    else:
        planned, manifest = complete(config)
        lines = summary.describe_dataset(config, planned.source, planned.selection, manifest)
    print("\n".join(lines))


def build(config: BuildConfig) -> Manifest:
    """Builds the dataset, or what an interrupted build left undone.

        config = BuildConfig(data_dir="data", folder_dir="photographs")  # A folder for each class.
        manifest = build(config)
        print(manifest.counts)  # {"train": {"cat": 80, "dog": 80}, "val": {"cat": 20, "dog": 20}}

    Raises:
        ValueError: as `complete` does.
        RuntimeError: likewise.
    """
    return complete(config)[1]


def complete(config: BuildConfig) -> tuple[Plan, Manifest]:
    """Builds the dataset as `build` does; also returns the plan that it was built by.

    Raises:
        ValueError: if the source, or what is left of it, cannot make a dataset, or if another
            dataset stands in the folder.
        RuntimeError: if another build is at work in the folder, or if copies of photographs of a
            bucket vanish.
    """
    config, source = _read_ahead(config)
    place = target.of(config.data_dir)
    with place.hold() as require_held:
        place.clear()
        planned = _plan(config, source or draw_source(config, place.folder))
        had_dataset = False
        if config.commit_only:
            results = _finished_shards(planned.tasks, config)
        else:
            had_dataset = _uncommit(place, planned.tasks)
            commit.prepare()
            results = _build_shards(planned.tasks, planned)
        require_held()
        try:
            return planned, _commit(planned, results)
        except ValueError as error:
            gone = f" The dataset that was in {place} is not complete any more."
            raise ValueError(f"{error}{gone if had_dataset else ''}") from error


def build_task(config: BuildConfig) -> list[ShardResult]:
    """Builds the shards of one of several tasks; `build` with `commit_only` completes the dataset.

    Raises:
        ValueError: if the source, or what is left of it, cannot make a dataset.
        RuntimeError: if the same task, or a whole build, is at work in the folder.
    """
    config, source = _read_ahead(config)
    place = target.of(config.data_dir)
    with place.hold(config.task_index):
        # The first to come draws or fetches what the others find.
        with lock.turn(place.folder / naming.BUILD_STATE):
            planned = _plan(config, source or draw_source(config, place.folder))
            share = planned.tasks[config.task_index :: config.num_tasks]
        for task in share:
            place.clear(task.file)
        _uncommit(place, share)
        return _build_shards(share, planned)


def dry_run(config: BuildConfig) -> Plan:
    """Plans the build and writes nothing; animals are drawn into a temporary folder."""
    config, source = _read_ahead(config)
    with tempfile.TemporaryDirectory() as folder:
        return _plan(config, source or draw_source(config, Path(folder)))


def _read_ahead(config: BuildConfig) -> tuple[BuildConfig, Source | None]:
    """Reads the source before anything is created, and settles how to split it.

    Returns:
        The config with `split_by` settled, and the source: None if it has yet to be drawn.
    """
    target.of(config.data_dir).check(writes=not config.dry_run)
    identity.check_no_run(config)
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


def _uncommit(place: Target, tasks: Sequence[ShardTask]) -> bool:
    """Removes what declares a dataset complete, unless none of its bytes will change.

    Returns:
        Whether there was a complete dataset, which is incomplete from now on.
    """
    if were_built_alike(tasks):
        return False
    had_dataset = place.exists(naming.MANIFEST)
    commit.uncommit(place)
    return had_dataset


def _plan(config: BuildConfig, source: Source) -> Plan:
    selected = selection.select(config, source)
    print(f"Splits: {splits.describe(config, source.photographs)}", flush=True)
    examples = selected.examples
    splits.check_filled(config, [example.split for example in examples])
    if config.drop_near_duplicates:
        with source.tree.in_use():
            lookalikes = find_lookalikes(config, examples)
        examples = [example for example in examples if example.photograph.file not in lookalikes]
        selected = selected.also_dropped(Rule.NEAR_DUPLICATE, len(lookalikes))
    tasks = plan_shards(config, examples)
    identity.check_source(config, selected.source.classes, tasks)
    return Plan(config, source, selected, tasks)


def _commit(planned: Plan, results: list[ShardResult]) -> Manifest:
    config, selected = planned.config, planned.selection
    found = [rejection for result in results for rejection in result.rejections]
    unusable = list(dict.fromkeys(selected.rejections + found))  # A photograph has many crops.
    check_rejections(config, unusable, selected.photographs)
    _check_left(commit.count_examples(results, selected.source.classes), unusable)
    return commit.commit(config, selected, planned.tasks, results, unusable)


def _check_left(counts: Mapping[str, Mapping[str, int]], unusable: Sequence[Rejection]) -> None:
    """Refuses a dataset in which unusable photographs left a split or a class without examples."""
    empty = [
        f"the split {split!r}" for split, of_class in counts.items() if not any(of_class.values())
    ]
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
    """Draws animals into a folder, and reads them like COCO's photographs."""
    from data_prep.synthetic import dataset  # No other source needs what draws.

    drawn = folder / "synthetic_coco"
    dataset.write_coco(drawn, num_images=config.synthetic_images, seed=config.seed)
    source = coco.read_coco_dir(str(drawn), config.wanted)
    description = f"Drawn animals: {len(source.photographs)} drawings, no photographs"
    print(description, flush=True)
    return source._replace(kind="Drawn animals", description=description)


def _download_source(config: BuildConfig) -> None:
    """Fetches what lists the photographs: COCO's annotations, or the archive of class folders."""
    from data_prep.sources import download  # Brings requests, an eighth of the command's start.
    from data_prep.sources.http import Downloader

    if config.source == "folder":
        download.fetch_animals(Downloader(), str(config.folder_dir), config.download_url)
    elif config.coco_dir:
        download.fetch_annotations(Downloader(), config.coco_dir, config.download_url)


def _build_shards(tasks: Sequence[ShardTask], planned: Plan) -> list[ShardResult]:
    config = planned.config
    if config.runner == "beam":
        beam.build_shards(tasks, config.beam_args)
        return _finished_shards(tasks, config)
    examples = sum(len(task.examples) for task in tasks)
    shown = tqdm(total=examples, unit="image", disable=not sys.stderr.isatty())
    results = []
    with shown, planned.source.tree.in_use():
        for result in runners.run(build_shard, tasks, _num_workers(config)):
            results.append(result)
            shown.update(result.shard.examples + len(result.rejections))
    return results


def _num_workers(config: BuildConfig) -> int:
    return config.num_workers or machine.cores()


def _finished_shards(tasks: Sequence[ShardTask], config: BuildConfig) -> list[ShardResult]:
    """Collects the results that tasks or Beam's workers have left in the folder."""
    results = list(target.of(config.data_dir).map(finished, tasks))
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
