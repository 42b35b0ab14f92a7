"""What a build says at its end: what went in, what came out, why the rest did not, what is next."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from data_prep import target
from data_prep.config import BuildConfig
from data_prep.rules import Rule
from data_prep.selection import Selection
from data_prep.shards import ShardTask
from data_prep.sources.photographs import Rejection, Source
from tfrecords import naming
from tfrecords.manifest import Manifest

_UNEVEN, _MANY = 3.0, 10  # From so many times as many, and so many examples on: worth a word.
_MOST_CLASSES = 20  # In a line.


def describe_dataset(
    config: BuildConfig, source: Source, selection: Selection, manifest: Manifest
) -> list[str]:
    """Returns the last lines of a build."""
    place = target.of(config.data_dir)
    lines = [
        *_in_and_out(source, manifest.counts, "out"),
        *_left_out({Rule(name): n for name, n in manifest.dropped.items()}, selection),
    ]
    if manifest.rejected:
        lines.append(
            f"With a flaw: {manifest.rejected} photographs, listed in "
            f"{place.place_of(naming.REJECTED)}"
        )
    lines += _splits(manifest.counts)
    if manifest.near_duplicates:
        lines.append(
            f"{manifest.near_duplicates} pairs of photographs look the same and stand in two "
            f"splits: see {naming.NEAR_DUPLICATES}, or pass --drop_near_duplicates"
        )
    return [
        *lines,
        f"Digest: {manifest.digest}",
        f"Report: {place.place_of(naming.REPORT)}",
        f"Next: {next_command(place)}",
    ]


def next_command(place: target.Target) -> str:
    """Returns what trains on a dataset, as a shell takes it."""
    flags = [f"--data_dir={place}", f"--workdir=runs/{place.name}"]
    return shlex.join(["python", "-m", "trainer.main", *flags])


def describe_plan(
    config: BuildConfig, source: Source, selection: Selection, tasks: Sequence[ShardTask]
) -> list[str]:
    """Returns what a build would do, as far as it is known before a pixel is decoded."""
    counts: dict[str, Counter[str]] = {}
    for task in tasks:
        of_split = counts.setdefault(
            naming.split_of(task.file), Counter(dict.fromkeys(selection.source.classes, 0))
        )
        of_split.update(selection.source.classes[example.label] for example in task.examples)
    unread = [r for r in selection.rejections if r.annotation_id is None]
    lines = [
        "Dry run: nothing is written.",
        *_in_and_out(source, counts, "to be stored"),
        *_left_out(selection.dropped, selection),
    ]
    if unread and config.download:
        lines.append(f"To be fetched first: {len(unread)} photographs")
    elif unread:
        lines.append(f"Not usable: {len(unread)} photographs, such as {_first(unread)}")
    photographs = {e.path: e.stamp.size for task in tasks for e in task.examples}
    return [
        *lines,
        *_splits(counts),
        f"{len(tasks)} shards from {sum(photographs.values()) / 1e6:,.1f} MB of photographs "
        f"would go to {config.data_dir}",
    ]


def _first(rejections: Sequence[Rejection]) -> str:
    return f"{rejections[0].file}: {rejections[0].reason}"


def _in_and_out(
    source: Source, counts: Mapping[str, Mapping[str, int]], verb: str
) -> Iterator[str]:
    examples = sum(sum(of_split.values()) for of_split in counts.values())
    what = "drawings" if source.kind == "Drawn animals" else "photographs"
    yield f"{len(source.photographs)} {what} in, {examples} examples {verb}"


def _left_out(dropped: Mapping[Rule, int], selection: Selection) -> Iterator[str]:
    for rule, count in sorted(dropped.items(), key=lambda item: -item[1]):
        if count:
            yield f"Left out: {count} {rule.words}"
    if selection.rare:
        yield f"Classes left out, with fewer photographs than --min_examples: {selection.rare}"


def _splits(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for split, of_split in counts.items():
        classes = [f"{name} {count}" for name, count in of_split.items()]
        more = len(classes) - _MOST_CLASSES
        shown = ", ".join(classes[:_MOST_CLASSES]) + (f" and {more} more" if more > 0 else "")
        yield f"{split:>6}: {sum(of_split.values())} examples ({shown})"
    if "val" not in counts:
        yield "There is no validation split: nothing will say how good a model is"
    sizes = {split: sum(of_split.values()) for split, of_split in counts.items()}
    if sizes["train"] < max(sizes.values()):
        yield "Fewer to train on than to judge by: --split_by=hash deals all out anew"
    yield from _unevenness(counts)


def _unevenness(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    train = counts["train"]
    most, fewest = max(train, key=lambda n: train[n]), min(train, key=lambda n: train[n])
    if train[most] >= max(_UNEVEN * train[fewest], _MANY):
        yield (
            f"Uneven: {most} has {train[most] / train[fewest]:.1f} times the training examples of "
            f"{fewest}; --class_weights=balanced of the trainer gives them equal weight"
        )
    unseen = [name for name, count in counts.get("val", {}).items() if not count]
    if unseen:
        yield f"No example to validate on: {', '.join(unseen)}"
