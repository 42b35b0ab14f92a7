"""Completes a dataset: what TFDS and the trainer need beside the shards, the manifest last."""

import csv
import importlib
import io
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from data_prep import card, lock
from data_prep.examples import near_duplicates
from data_prep.examples.near_duplicates import Pair
from data_prep.shards import ShardResult, ShardTask
from data_prep.sources.photographs import Photograph, Rejection, Source
from tfrecords import files, naming
from tfrecords.manifest import VERSION, Manifest, dataset_digest, write_manifest


def uncommit(data_dir: Path) -> None:
    """Takes away what says that the dataset is complete, before its first shard changes."""
    for name in (naming.MANIFEST, naming.DATASET_INFO, naming.FEATURES):
        (data_dir / name).unlink(missing_ok=True)


def prepare() -> None:
    """Imports meanwhile most of what `commit` needs: half a second where workers share the work.

    Not TFDS, whose own import changes for a moment how all threads import.
    """
    threading.Thread(target=importlib.import_module, args=("data_prep.report.page",)).start()


def commit(
    data_dir: Path,
    results: Sequence[ShardResult],
    *,
    source: Source,
    classes: Sequence[str],
    options: Mapping[str, Any],
    dropped: Mapping[str, int],
    rejections: Sequence[Rejection],
    conflicting: Sequence[Rejection],
    photographs: Iterable[Photograph],
    tasks: Iterable[ShardTask],
) -> Manifest:
    """Writes every file beside the shards and returns the manifest.

    Args:
        data_dir: Of the dataset.
        results: Of all tasks.
        source: What it was made from.
        classes: Names; a label is an index into them.
        options: Of the build.
        dropped: {rule: number of photographs or instances that it left out}.
        rejections: Of photographs and boxes.
        conflicting: Of photographs that stand under two labels.
        photographs: Of which examples were to be made.
        tasks: What was to be built.
    """
    from data_prep.report import page  # Brings matplotlib, which a mistyped flag can spare.

    results = sorted(results, key=lambda result: result.shard.file)
    shards = [result.shard for result in results]
    pairs = find_near_duplicates(results)
    manifest = Manifest(
        version=VERSION,
        classes=list(classes),
        counts=count_examples(results, classes),
        shards=shards,
        digest=dataset_digest(shards),
        options=dict(options),
        dropped=dict(sorted(dropped.items())),
        rejected=len({rejection.file for rejection in (*rejections, *conflicting)}),
        near_duplicates=len(pairs),
    )
    _remove_other_shards(data_dir, {shard.file for shard in shards})
    write_rejections(data_dir, [*rejections, *conflicting])
    near_duplicates.write(data_dir, pairs)
    unusable = {rejection.file for rejection in rejections if rejection.annotation_id is None}
    # Both: an id may stand in several annotation files, a file under several ids, and a photograph
    # has many crops.
    of_id = {(photograph.file, photograph.image_id): photograph for photograph in photographs}
    _write_attribution(data_dir, [p for p in of_id.values() if p.file not in unusable])
    card.write_card(data_dir, manifest, source.kind)
    examples = [
        example for task in tasks for example in task.examples if example.file not in unusable
    ]
    in_source = {photograph.file: photograph for photograph in source.photographs}
    rejected = [*rejections, *conflicting]
    contents = page.Contents(source.kind, examples, in_source, rejected, pairs)
    page.write_report(data_dir, manifest, contents)
    write_manifest(data_dir, manifest)
    return manifest


def count_examples(
    results: Iterable[ShardResult], classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Returns {split: {class: number of examples}}, every class in every split."""
    counts: dict[str, Counter[int]] = {}
    for result in results:
        counts.setdefault(naming.split_of(result.shard.file), Counter()).update(result.counts)
    return {
        split: {name: of_label[label] for label, name in enumerate(classes)}
        for split, of_label in sorted(counts.items())
    }


def find_near_duplicates(results: Iterable[ShardResult]) -> list[Pair]:
    """Returns the pairs of photographs that look the same and stand in two splits."""
    of_file: dict[str, str] = {}
    split_of: dict[str, str] = {}
    for result in results:
        of_file |= result.fingerprints
        split = naming.split_of(result.shard.file)
        split_of |= dict.fromkeys(result.fingerprints, split)
    return near_duplicates.find(of_file, split_of)


def write_rejections(data_dir: Path, rejections: Iterable[Rejection]) -> None:
    """Writes `rejected.jsonl`: a line for each photograph or box that could not be used."""
    lines = sorted(msgspec.json.encode(rejection) + b"\n" for rejection in rejections)
    files.write_atomically(data_dir / naming.REJECTED, b"".join(lines))


def _remove_other_shards(data_dir: Path, shards: set[str]) -> None:
    """Removes shards of an earlier build that this one does not have, and what is noted of them."""
    state = data_dir / naming.BUILD_STATE
    for path in (*data_dir.glob(naming.SHARD_GLOB), *state.iterdir()):
        kept = path.name.removesuffix(".json") in shards or path.name == naming.FINGERPRINTS
        if not kept and not lock.is_lock(path):
            path.unlink()


def _write_attribution(data_dir: Path, photographs: Iterable[Photograph]) -> None:
    """Writes `attribution.csv`: whose photographs these are."""
    columns = ["image_id", "license", "url", "source_id"]
    lines = sorted((p.image_id, p.license, p.url, p.source_id) for p in photographs)
    if not any(source_id for *_, source_id in lines):  # All ids are numbers, as COCO's are.
        columns.pop()
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(line[: len(columns)] for line in lines)
    files.write_atomically(data_dir / naming.ATTRIBUTION, out.getvalue())
