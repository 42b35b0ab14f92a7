"""Completes a dataset: what TFDS and the trainer need beside the shards, the manifest last."""

import csv
import importlib
import io
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from data_prep import card, identity, lock, target
from data_prep.config import BuildConfig
from data_prep.examples import near_duplicates
from data_prep.examples.near_duplicates import Pair
from data_prep.rejections import write_rejections
from data_prep.selection import Selection
from data_prep.shards import ShardResult, ShardTask
from data_prep.sources.photographs import Photograph, Rejection
from data_prep.target import Target
from tfrecords import files, naming
from tfrecords.manifest import VERSION, Manifest, dataset_digest, write_manifest

_BESIDE_SHARDS = (
    naming.REJECTED, naming.NEAR_DUPLICATES, naming.ATTRIBUTION, *naming.CLASS_NAMES,
    naming.LICENSE, naming.FEATURES, naming.DATASET_INFO, naming.REPORT,
)  # fmt: skip


def uncommit(place: Target) -> None:
    """Removes what declares the dataset complete, before its first shard changes."""
    place.remove(naming.MANIFEST, naming.DATASET_INFO, naming.FEATURES)


def prepare() -> None:
    """Imports most of what `commit` needs in the background, while workers build the shards.

    That saves half a second. TFDS is left out: while it is imported, it changes how all threads
    import.
    """
    threading.Thread(target=importlib.import_module, args=("data_prep.report.page",)).start()


def commit(
    config: BuildConfig,
    selected: Selection,
    tasks: Sequence[ShardTask],
    results: Sequence[ShardResult],
    unusable: Sequence[Rejection],
) -> Manifest:
    """Writes every file beside the shards and returns the manifest.

    Args:
        config: The build's options, with `split_by` settled.
        selected: What was to become examples.
        tasks: The shards that were to be built.
        results: What came of them, in any order.
        unusable: Photographs and boxes that could not be used.
    """
    from data_prep.report import page  # Brings matplotlib, which a mistyped flag can spare.

    place, source = target.of(config.data_dir), selected.source
    results = sorted(results, key=lambda result: result.shard.file)
    pairs = find_near_duplicates(results)
    rejections = [*unusable, *selected.conflicting]
    manifest = _manifest(config, selected, results, rejections, pairs)
    _remove_other_shards(place, {shard.file for shard in manifest.shards})
    write_rejections(place.folder, rejections)
    near_duplicates.write(place.folder, pairs)
    lost = {rejection.file for rejection in unusable if rejection.annotation_id is None}
    _write_attribution(place.folder, [p for p in _photographs(selected) if p.file not in lost])
    card.write_card(place.folder, manifest, source.kind)
    contents = page.Contents(
        source=source.kind,
        examples=[e for task in tasks for e in task.examples if e.file not in lost],
        photographs={photograph.file: photograph for photograph in source.photographs},
        rejections=rejections,
        pairs=pairs,
    )
    page.write_report(place.folder, manifest, contents)
    place.put(*_BESIDE_SHARDS)
    write_manifest(place.folder, manifest)
    place.put(naming.MANIFEST)
    return manifest


def _manifest(
    config: BuildConfig,
    selected: Selection,
    results: Sequence[ShardResult],
    rejections: Sequence[Rejection],
    pairs: Sequence[Pair],
) -> Manifest:
    classes = selected.source.classes
    shards = [result.shard for result in results]
    return Manifest(
        version=VERSION,
        classes=list(classes),
        counts=count_examples(results, classes),
        shards=shards,
        digest=dataset_digest(shards),
        options=identity.recorded(config),
        dropped={rule.value: count for rule, count in sorted(selected.dropped.items())},
        rejected=len({rejection.file for rejection in rejections}),
        near_duplicates=len(pairs),
    )


def _photographs(selected: Selection) -> Iterable[Photograph]:
    """The photographs of all examples, once each, though one may have many crops.

    An id may stand in several annotation files, and a file under several ids: only both tell.
    """
    photographs = (example.photograph for example in selected.examples)
    return {
        (photograph.file, photograph.image_id): photograph for photograph in photographs
    }.values()


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


def _remove_other_shards(place: Target, shards: set[str]) -> None:
    """Removes the shards of earlier builds that this one does not have, and their build state."""
    for path in map(PurePosixPath, place.built()):
        kept = path.name.removesuffix(".json") in shards or path.name == naming.FINGERPRINTS
        if not kept and not lock.is_lock(path):
            place.remove(str(path))


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
