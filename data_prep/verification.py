"""Verifies a whole dataset: each shard by `inspection`, then all of them against the manifest.

A leak is an image that stands in two splits. It is recognised by its pixels, since the shards do
not hold the photographs they were made from. Crops have pixels of their own, so two crops of a
photograph are recognised by its name and id, if the build itself chose the splits (split_by=hash);
a source may use a name and an id once in each of its splits.
"""

import fnmatch
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from buckets.failures import BucketError
from cli import machine
from cli.progress import Progress
from data_prep import runners
from data_prep.inspection import Inspection, Report, Sighting, inspect
from tfrecords import naming
from tfrecords.data_folder import DataFolder
from tfrecords.manifest import VERSION, Manifest, dataset_digest
from tfrecords.shard_cache import ShardCache


def verify(
    data_dir: str | os.PathLike[str],
    manifest: Manifest,
    *,
    quick: bool = False,
    num_workers: int | None = None,
    cache: ShardCache | None = None,
) -> list[str]:
    """Returns a line for each finding, those about the manifest first, then shard by shard.

    Args:
        data_dir: The dataset's folder, or its URL.
        manifest: What it should hold.
        quick: Whether to check sizes and sha256 alone.
        num_workers: Number of processes; None for the cores of this machine.
        cache: Keeps copies of shards that lie in a bucket; None: the platform's cache folder does.
    """
    folder = DataFolder(data_dir)
    findings = [*_stale(manifest), *_stale_tfds(folder, manifest), *_extra(folder, manifest)]
    work = [
        Inspection(
            path=folder.place_of(shard.file),
            expected=shard,
            num_classes=len(manifest.classes),
            quick=quick,
            store=folder.store,
            cache=cache,
        )
        for shard in sorted(manifest.shards, key=lambda shard: -shard.bytes)  # The longest first.
    ]
    examples = {shard.file: shard.examples for shard in manifest.shards}
    reports: list[Report] = []
    with Progress(sum(examples.values()), "examples checked") as progress:
        for report in runners.run(inspect, work, num_workers or machine.cores()):
            reports.append(report)
            progress.add(examples[report.file])
    reports.sort(key=lambda report: report.file)
    findings += [finding for report in reports for finding in report.findings]
    if not quick:
        findings += [*_wrong_counts(manifest, reports), *_leaks(manifest, reports)]
        findings += [*_conflicts(manifest, reports), *_other_names(folder, manifest)]
    return findings


def _stale(manifest: Manifest) -> Iterator[str]:
    """Finds what in the manifest contradicts itself."""
    if manifest.version != VERSION:
        yield f"{naming.MANIFEST}: version {manifest.version}, this code reads {VERSION}"
    if manifest.digest != dataset_digest(manifest.shards):
        yield f"{naming.MANIFEST}: its digest is not that of its shards"
    for file, count in Counter(shard.file for shard in manifest.shards).items():
        if count > 1:
            yield f"{naming.MANIFEST}: {file} stands {count} times"
    of_shards: Counter[str] = Counter()
    for shard in manifest.shards:
        of_shards[naming.split_of(shard.file)] += shard.examples
    for split in sorted({*of_shards, *manifest.counts}):
        counted = sum(manifest.counts.get(split, {}).values())
        if counted != of_shards[split]:
            yield (
                f"{naming.MANIFEST}: {split} has {counted} examples by class, "
                f"{of_shards[split]} by shard"
            )


def _stale_tfds(folder: DataFolder, manifest: Manifest) -> Iterator[str]:
    """Finds where TFDS's own files contradict the manifest."""
    expected = {}
    for split in manifest.counts:
        shards = sorted((s for s in manifest.shards if naming.split_of(s.file) == split),
                        key=lambda shard: shard.file)  # fmt: skip
        expected[split] = [s.examples for s in shards], sum(s.bytes for s in shards)
    try:
        json.loads(folder.read(naming.FEATURES))
        info = json.loads(folder.read(naming.DATASET_INFO))
        found = {
            split["name"]: ([int(n) for n in split["shardLengths"]], int(split["numBytes"]))
            for split in info["splits"]
        }
    except FileNotFoundError as error:
        yield f"{Path(error.filename or str(error)).name}: missing"
    except (ValueError, KeyError, TypeError) as error:
        yield f"{naming.DATASET_INFO}, {naming.FEATURES}: not as TFDS writes them: {error!r}"
    else:
        for split in sorted({*expected, *found}):
            if expected.get(split) != found.get(split):
                yield (
                    f"{naming.DATASET_INFO}: {split} has (examples of each shard, bytes) "
                    f"{found.get(split)}, the manifest says {expected.get(split)}"
                )


def _other_names(folder: DataFolder, manifest: Manifest) -> Iterator[str]:
    """Finds where TFDS would name the classes differently than the manifest does."""
    for name in naming.CLASS_NAMES:
        try:
            names = folder.read(name).decode().splitlines()
        except FileNotFoundError:
            yield f"{name}: missing"
        except (OSError, BucketError, UnicodeDecodeError) as error:
            yield f"{name}: cannot be read: {error}"
        else:
            if names != manifest.classes:
                yield (
                    f"{name}: its classes are {', '.join(names) or 'none'}, the manifest's "
                    f"{', '.join(manifest.classes)}"
                )


def _extra(folder: DataFolder, manifest: Manifest) -> Iterator[str]:
    known = {shard.file for shard in manifest.shards}
    for name in folder.names():
        if fnmatch.fnmatchcase(name, naming.SHARD_GLOB) and name not in known:
            yield f"{name}: not in the manifest"


def _wrong_counts(manifest: Manifest, reports: Sequence[Report]) -> Iterator[str]:
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for report in reports:
        found[naming.split_of(report.file)] += report.counts
    damaged = {naming.split_of(report.file) for report in reports if report.findings}
    for split, counts in manifest.counts.items():
        if split in damaged:  # What is lost there has a line of its own.
            continue
        for label, name in enumerate(manifest.classes):
            if found[split][label] != counts.get(name, 0):
                yield (
                    f"{naming.MANIFEST}: {split} has {counts.get(name, 0)} of {name}, "
                    f"the shards hold {found[split][label]}"
                )


def _leaks(manifest: Manifest, reports: Sequence[Report]) -> Iterator[str]:
    yield from _in_two_splits(reports, lambda sighting: sighting.content, "the same image")
    options = manifest.options
    if options.get("label_policy") == "crop" and options.get("split_by") == "hash":
        yield from _in_two_splits(
            reports, lambda sighting: sighting.photograph, "crops of one photograph"
        )


def _conflicts(manifest: Manifest, reports: Sequence[Report]) -> Iterator[str]:
    """Finds one image under two labels, unless the build was told to keep such."""
    if manifest.options.get("conflicts") == "keep":
        return
    first: dict[bytes, tuple[str, Sighting]] = {}
    for report in reports:
        for sighting in report.sightings:
            file, seen = first.setdefault(sighting.content, (report.file, sighting))
            if seen.label != sighting.label:
                label, other = _name(manifest, sighting), _name(manifest, seen)
                yield (
                    f"{report.file}: record {sighting.record} ({sighting.photograph[0]}) is "
                    f"labelled {label}; the same image is {other} as record {seen.record} of "
                    f"{file} ({seen.photograph[0]})"
                )


def _name(manifest: Manifest, sighting: Sighting) -> str:
    known = 0 <= sighting.label < len(manifest.classes)
    return manifest.classes[sighting.label] if known else str(sighting.label)


def _in_two_splits(
    reports: Sequence[Report], key: Callable[[Sighting], Any], what: str
) -> Iterator[str]:
    first: dict[Any, tuple[str, Sighting]] = {}
    for report in reports:
        for sighting in report.sightings:
            file, seen = first.setdefault(key(sighting), (report.file, sighting))
            if naming.split_of(file) != naming.split_of(report.file):
                yield (
                    f"{report.file}: record {sighting.record} ({sighting.photograph[0]}) leaks: "
                    f"{what} as record {seen.record} of {file} ({seen.photograph[0]})"
                )
