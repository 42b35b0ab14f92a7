"""Turns photographs with annotations into sharded TFRecords: `python -m data_prep.build`.

source -> label policy -> splits -> plan -> shards, one by one or in parallel -> commit
"""

import atexit
import dataclasses
import gc
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags
from tqdm import tqdm

from cli import command, cores
from data_prep import beam, box_checks, coco, commit, folder, headers, labels, lock, plan, runners
from data_prep.config import (
    ANIMALS_URL,
    COCO_URL,
    LABEL_POLICIES,
    RUNNERS,
    SOURCES,
    SPLITS_BY,
    BuildConfig,
)
from data_prep.photographs import Photograph, Rejection, Source
from data_prep.shards import ShardResult, ShardTask, build_shard, finished
from tfrecords import files, naming
from tfrecords.manifest import Manifest

FLAGS = flags.FLAGS

_DEFAULT = BuildConfig  # Each default stands once, in the dataclass.

flags.DEFINE_string("data_dir", None, "Where the dataset goes.", required=True)
flags.DEFINE_enum(
    "source", _DEFAULT.source, SOURCES, "Drawn animals, COCO detections, or one folder per class."
)
flags.DEFINE_string(
    "coco_dir",
    _DEFAULT.coco_dir,
    "Holds annotations and photographs as COCO, CVAT, Label Studio or Roboflow lay them out.",
)
flags.DEFINE_list("annotations", list(_DEFAULT.annotations), "COCO files, in place of --coco_dir.")
flags.DEFINE_string("images_dir", _DEFAULT.images_dir, "The photographs of --annotations.")
flags.DEFINE_string(
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
flags.DEFINE_list("classes", list(_DEFAULT.classes), "Category names; `all` takes every one.")
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
    "hash: stratified, by a salted hash of the image's content; source: as the source has it.",
)
flags.DEFINE_float("val_fraction", _DEFAULT.val_fraction, "Share of `val`, for hash.")
flags.DEFINE_float("test_fraction", _DEFAULT.test_fraction, "Share of `test`, for hash.")
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


_MOST_COMPARED = 1000  # Sizes: a tool that gets them wrong does so on more than one photograph.


class _Plan(NamedTuple):
    """What is to be built, and what was left out on the way to it."""

    source: Source
    photographs: list[Photograph]
    dropped: Counter[str]
    rejections: list[Rejection]
    tasks: list[ShardTask]


def main(arguments: list[str]) -> None:
    """Builds what the flags ask for and says what came of it."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(BuildConfig)
    if config.task_index is not None:
        results = build_share(config)
        print(f"Task {config.task_index} of {config.num_tasks}: {len(results)} shards are finished")
        return
    manifest = build(config)
    for split, counts in manifest.counts.items():
        of_classes = ", ".join(f"{name} {count}" for name, count in counts.items())
        print(f"{split:>6}: {manifest.num_examples(split)} examples ({of_classes})")
    if manifest.near_duplicates:
        print(
            f"{manifest.near_duplicates} pairs of photographs look the same and stand in two "
            f"splits: see {naming.NEAR_DUPLICATES}, or pass --drop_near_duplicates"
        )
    print(f"{manifest.rejected} photographs rejected; digest {manifest.digest}")
    print(f"Dataset in {config.data_dir}")


def build(config: BuildConfig) -> Manifest:
    """Builds the dataset; one that was interrupted is completed.

    Raises:
        ValueError: if the source, or what is left of it, cannot make a dataset.
        RuntimeError: if another build is at work in the folder.
    """
    data_dir = Path(config.data_dir)
    with lock.hold(_state_dir(data_dir)):
        files.remove_incomplete(data_dir)
        planned = _plan(config)
        if config.commit_only:
            results = _finished_shards(planned.tasks, config)
        else:
            commit.uncommit(data_dir)
            commit.prepare()
            results = _build_shards(planned.tasks, config)
        return _commit(config, planned, results)


def build_share(config: BuildConfig) -> list[ShardResult]:
    """Builds the shards of one task; `build` with `commit_only` completes the dataset.

    Raises:
        ValueError: if the source, or what is left of it, cannot make a dataset.
        RuntimeError: if the same task, or a whole build, is at work in the folder.
    """
    data_dir = Path(config.data_dir)
    state = _state_dir(data_dir)
    with lock.hold(state, config.task_index):
        with lock.turn(state):  # The first to come draws or fetches what the others find.
            share = _plan(config).tasks[config.task_index :: config.num_tasks]
        for task in share:
            files.remove_incomplete(data_dir, task.file)
        commit.uncommit(data_dir)
        return _build_shards(share, config)


def _state_dir(data_dir: Path) -> Path:
    if data_dir.exists() and not data_dir.is_dir():
        raise ValueError(f"data_dir is not a directory. Received: {data_dir}.")
    state = data_dir / naming.BUILD_STATE
    state.mkdir(parents=True, exist_ok=True)
    return state


def _plan(config: BuildConfig) -> _Plan:
    if config.runner == "local" and _num_workers(config) > 1 and not config.commit_only:
        runners.prepare()
    source = read_source(config)
    print(source.description, flush=True)
    box_checks.warn_or_refuse(source.doubts, config.label_policy)
    candidates, dropped = labels.choose(
        source.photographs,
        policy=config.label_policy,
        min_area=config.min_area,
        crop_margin=config.crop_margin,
    )
    dropped.update(source.dropped)
    if source.bad_boxes:
        dropped["box_outside_or_empty"] = len(source.bad_boxes)
    _check_every_class(Counter(c.label for c in candidates), source.classes, dropped)
    photographs = [candidate.photograph for candidate in candidates]
    unfetched = _download(config, photographs)
    _check_rejections(config, unfetched, photographs)
    _check_sizes(config, photographs)
    digests, missing = plan.digest_photographs(candidates)
    known = {rejection.file for rejection in unfetched}
    rejections = source.bad_boxes + unfetched + [r for r in missing if r.file not in known]
    _check_rejections(config, rejections, photographs)
    on_disk = [c for c in candidates if c.photograph.path in digests]
    tasks = plan.plan_shards(config, on_disk, digests, dropped)
    return _Plan(source, photographs, dropped, rejections, tasks)


def _commit(config: BuildConfig, planned: _Plan, results: list[ShardResult]) -> Manifest:
    classes = planned.source.classes
    found = [rejection for result in results for rejection in result.rejections]
    rejections = list(dict.fromkeys(planned.rejections + found))  # A photograph has many crops.
    _check_rejections(config, rejections, planned.photographs)
    for split, counts in commit.count_examples(results, classes).items():
        if not sum(counts.values()):
            raise ValueError(f"No example is left for the split {split!r}. See rejected.jsonl.")
        if split == "train":
            labels_left = Counter({classes.index(name): n for name, n in counts.items()})
            _check_every_class(labels_left, classes, planned.dropped)
    return commit.commit(
        Path(config.data_dir),
        results,
        source=planned.source,
        classes=classes,
        options=dataclasses.asdict(config),
        dropped=planned.dropped,
        rejections=rejections,
        photographs=planned.photographs,
        tasks=planned.tasks,
    )


def read_source(config: BuildConfig) -> Source:
    """Reads the photographs that the config names; the synthetic ones are drawn first."""
    if config.download:
        _download_source(config)
    if config.source == "folder":
        return folder.read_folders(str(config.folder_dir), config.classes)
    if config.source == "coco" and config.annotations:
        return coco.read_annotations(config.annotations, str(config.images_dir), config.classes)
    if config.source == "coco":
        return coco.read_coco_dir(str(config.coco_dir), config.classes)
    from data_prep import synthetic  # No other source needs what draws.

    drawn = Path(config.data_dir) / "synthetic_coco"
    synthetic.write_coco(drawn, num_images=config.synthetic_images, seed=config.seed)
    return coco.read_coco_dir(str(drawn), config.classes)._replace(kind="Drawn animals")


def _download_source(config: BuildConfig) -> None:
    """Fetches what says which photographs there are: annotations, or a folder for each class."""
    from data_prep import download  # Brings requests, an eighth of the command's start.
    from data_prep.downloader import Downloader

    if config.source == "folder":
        download.fetch_animals(Downloader(), str(config.folder_dir), config.download_url)
    elif config.coco_dir:
        download.fetch_annotations(Downloader(), config.coco_dir, config.download_url)


def _download(config: BuildConfig, photographs: Sequence[Photograph]) -> list[Rejection]:
    """Fetches the photographs of COCO that are not there, if the config says so."""
    if not config.download or config.source != "coco":
        return []
    from data_prep import download
    from data_prep.downloader import Downloader

    return download.fetch_photographs(
        Downloader(),
        photographs,
        folder=Path(config.coco_dir or str(config.images_dir)),
        mirror=config.download_url,
        num_downloads=config.num_downloads,
        max_failures=int(config.max_bad_fraction * len({p.path for p in photographs})),
    )


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
    return config.num_workers or cores.available()


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


def _check_sizes(config: BuildConfig, photographs: Sequence[Photograph]) -> None:
    """Compares annotated sizes with the photographs': of all that are cropped, else of some."""
    with_boxes = list({p.path: p for p in photographs if p.objects}.values())
    step = 1 if config.label_policy == "crop" else len(with_boxes) // _MOST_COMPARED + 1
    some = with_boxes[::step]  # Evenly spread.
    sizes = headers.read_sizes([photograph.path for photograph in some])
    box_checks.warn_or_refuse([box_checks.doubt_sizes(some, sizes)], config.label_policy)


def _check_every_class(counts: Counter[int], classes: Sequence[str], dropped: Counter[str]) -> None:
    empty = [name for label, name in enumerate(classes) if not counts[label]]
    if empty:
        rules = ", ".join(f"{rule}: {count}" for rule, count in dropped.items()) or "nothing"
        raise ValueError(
            f"No example is left for {', '.join(empty)}. Left out by the rules: {rules}. Take "
            "fewer --classes, or loosen --label_policy or --min_area."
        )


def _check_rejections(
    config: BuildConfig, rejections: Sequence[Rejection], photographs: Sequence[Photograph]
) -> None:
    """Fails above the allowed share of unusable photographs, with the list on disk."""
    reasons = {r.file: r.reason for r in rejections if r.annotation_id is None}
    num_photographs = len({photograph.path for photograph in photographs})
    if len(reasons) <= config.max_bad_fraction * num_photographs:
        return
    data_dir = Path(config.data_dir)
    commit.write_rejections(data_dir, rejections)
    file, reason = min(reasons.items())
    raise ValueError(
        f"{len(reasons)} of {num_photographs} photographs are unusable, more than "
        f"--max_bad_fraction={config.max_bad_fraction}. The first: {file}: {reason}. All are in "
        f"{data_dir / naming.REJECTED}. Mend them, or allow a larger share."
    )


def run() -> None:
    """The console script."""
    atexit.register(gc.freeze)  # Python need not search all objects for garbage as it ends.
    command.run(main)


if __name__ == "__main__":
    run()
