"""The report of a dataset: one self-contained page for a person to look at before training.

It says the same whoever built the dataset, wherever and whenever.
"""

import contextlib
import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from cli import machine, page
from data_prep.examples.labels import POLICIES
from data_prep.examples.near_duplicates import Pair
from data_prep.report import charts, thumbnails
from data_prep.rules import Rule
from data_prep.shards import ExampleSpec
from data_prep.sources.photographs import Photograph, Rejection
from tfrecords import files, images, naming, originals
from tfrecords.manifest import Manifest
from tfrecords.unusable import UnusableImageError

_SHEET, _LEAST_SHEET, _MOST_EXAMPLES = 12, 3, 240  # Pictures of one class, and in all.
_MOST_REJECTED = 48
_SPLITS = ("train", "val", "test")  # In the order in which they are shown.
_MOST_PAIRS = 12
_MOST_HEADERS = 1000  # Read where the source does not say how large its photographs are.


class Contents(NamedTuple):
    """What a dataset was made from and what came of it.

    Attributes:
        source: What kind of source it was, in words.
        examples: What the shards hold.
        photographs: {file: photograph}, every one of the source.
        rejections: Photographs and boxes that could not be used.
        pairs: Photographs that look the same in two splits.
    """

    source: str
    examples: Sequence[ExampleSpec]
    photographs: Mapping[str, Photograph]
    rejections: Sequence[Rejection]
    pairs: Sequence[Pair]


def write_report(data_dir: Path, manifest: Manifest, contents: Contents) -> None:
    """Writes `report.html`."""
    reasons = Counter(rejection.reason.partition(":")[0] for rejection in contents.rejections)
    content = page.render(
        "data_prep",
        "report.html",
        manifest=manifest,
        total=len(contents.examples),
        split_names=_split_names(manifest),
        bars=_bars(manifest),
        facts=_facts(manifest, contents),
        charts=_charts(manifest, contents.examples),
        dropped=[(count, Rule(rule).words) for rule, count in manifest.dropped.items() if count],
        reasons=sorted(reasons.items(), key=lambda item: (-item[1], item[0])),
        rejected=_rejected(contents),
        num_rejections=len(contents.rejections),
        pairs=_pairs(contents),
        licenses=_licenses(contents.photographs[example.file] for example in contents.examples),
        sheets=_sheets(manifest.classes, contents.examples),
    )
    files.write_atomically(data_dir / naming.REPORT, content)


def _facts(manifest: Manifest, contents: Contents) -> dict[str, str]:
    options = manifest.options
    facts = {"Source": contents.source}
    if options["source"] != "folder":
        facts["Labels"] = POLICIES[options["label_policy"]]
        if options["label_policy"] == "crop":
            facts["Labels"] += f", widened by {options['crop_margin']:.0%} of its box on each side"
        if options["min_area"]:
            facts["Smallest animal"] = f"{options['min_area']:.2%} of the photograph, by its box"
    else:
        facts["Labels"] = "the folder of a photograph is its class"
    facts["Splits"] = _splits(manifest, contents.photographs.values())
    size = options["image_size"]
    facts["Stored as"] = f"JPEG, short side {size} pixels at most" if size else "the original size"
    facts["Shards"] = (
        f"{len(manifest.shards)}, {sum(s.bytes for s in manifest.shards) / 1e6:,.1f} MB"
    )
    facts["Digest"] = manifest.digest
    return facts


def _splits(manifest: Manifest, photographs: Iterable[Photograph]) -> str:
    """Says who decided on the splits: the source, or a hash for those that it does not have."""
    by_hash = f"stratified by class, by content, salt {manifest.options['salt']!r}"
    if manifest.options["split_by"] == "hash":
        return by_hash
    cut = sorted(manifest.counts.keys() - {p.source_split for p in photographs})
    kept = "as the source has them"
    return f"{kept}; {' and '.join(cut)} cut from train, {by_hash}" if cut else kept


def _split_names(manifest: Manifest) -> list[str]:
    return [split for split in _SPLITS if split in manifest.counts]


def _bars(manifest: Manifest) -> list[dict[str, Any]]:
    """Returns each class's number of examples, and its bar: a part for each split.

    A part's length is a fraction of the longest bar.
    """
    totals = {
        name: sum(of_class[name] for of_class in manifest.counts.values())
        for name in manifest.classes
    }
    longest = max(totals.values())
    return [
        {
            "name": name,
            "total": total,
            "parts": [
                (split, manifest.counts[split][name], manifest.counts[split][name] / longest)
                for split in _split_names(manifest)
            ],
        }
        for name, total in totals.items()
    ]


def _charts(manifest: Manifest, examples: Sequence[ExampleSpec]) -> list[dict[str, Any]]:
    drawn = []
    sizes = _sizes(examples)
    if sizes:
        stored = manifest.options["image_size"] or None
        shorts = charts.draw_histogram([min(size) for size in sizes], charts.SHORT_SIDE, stored)
        shapes = charts.draw_histogram([width / height for width, height in sizes], charts.ASPECT)
        note = "The line: the longest short side that is stored." if stored else ""
        drawn += [("Photographs by size", note, shorts), ("Photographs by shape", "", shapes)]
    areas = [area for example in examples if (area := _labelled_area(example))]
    if areas:
        least = manifest.options["min_area"] or None
        note = "The line: --min_area." if least else ""
        figure = charts.draw_histogram(areas, charts.AREA, least)
        drawn.append(("Area of the labelled animal's box", note, figure))
    return [
        {"title": title, "note": note, "svg": page.svg(figure, f"chart{number}")}
        for number, (title, note, figure) in enumerate(drawn)
    ]


def _sizes(examples: Sequence[ExampleSpec]) -> list[tuple[int, int]]:
    """Returns (width, height) of each photograph, or of a sample if files have to be opened."""
    of_file = {example.file: example for example in examples}
    if all(min(example.size) > 0 for example in of_file.values()):
        return [example.size for example in of_file.values()]
    sample = heapq.nsmallest(_MOST_HEADERS, of_file.values(), key=_chance)
    sizes = []
    for example in sample:
        with contextlib.suppress(OSError, UnusableImageError):  # It was well when it was stored.
            sizes.append(images.sizes(originals.read_original(example.path)).stored)
    return sizes


def _labelled_area(example: ExampleSpec) -> float:
    """Returns the share of the photograph under the box that decided the label; 0 without one."""
    if example.crop is not None:
        return example.crop.area
    areas = [o.box.area for o in example.objects if o.label == example.label and not o.is_crowd]
    return max(areas, default=0.0)


def _chance(example: ExampleSpec) -> tuple[str, str, str]:
    """A sort key that looks random, and is the same for every build."""
    return example.content, example.file, str(example.crop)


def _sheets(classes: Sequence[str], examples: Sequence[ExampleSpec]) -> list[dict[str, Any]]:
    each = max(_LEAST_SHEET, min(_SHEET, _MOST_EXAMPLES // len(classes)))
    of_label: dict[int, list[ExampleSpec]] = {label: [] for label in range(len(classes))}
    for example in examples:
        of_label[example.label].append(example)
    shown = [heapq.nsmallest(each, members, key=_chance) for members in of_label.values()]
    with ThreadPoolExecutor(machine.cores()) as pool:  # Decoding lets go of the GIL.
        pictures = pool.map(thumbnails.draw_example, itertools.chain.from_iterable(shown))
    return [
        {
            "name": classes[label],
            "total": len(of_label[label]),
            "tiles": [
                {"thumbnail": next(pictures), "name": example.filename, "label": label}
                for example in members
            ],
        }
        for label, members in enumerate(shown)
    ]


def _rejected(contents: Contents) -> list[dict[str, Any]]:
    shown = sorted(contents.rejections, key=_sort_key)
    return [
        {
            "file": rejection.file,
            "reason": rejection.reason,
            "thumbnail": _rejected_thumbnail(contents, rejection.file),
        }
        for rejection in shown[:_MOST_REJECTED]
    ]


def _sort_key(rejection: Rejection) -> tuple[str, bool, int | str, str]:
    """Sorts by file; annotation ids that are text come after numbers."""
    annotation_id = rejection.annotation_id or 0
    return rejection.file, isinstance(annotation_id, str), annotation_id, rejection.reason


def _rejected_thumbnail(contents: Contents, file: str) -> thumbnails.Thumbnail | None:
    """Returns None, too, if the rejected annotation belongs to no known photograph."""
    photograph = contents.photographs.get(file)
    return thumbnails.draw_rejected(photograph.path) if photograph else None


def _pairs(contents: Contents) -> list[dict[str, Any]]:
    shown = sorted(contents.pairs, key=lambda pair: (pair.distance, pair.files))[:_MOST_PAIRS]
    return [
        {
            "members": [
                (thumbnails.draw_rejected(contents.photographs[file].path), split, file)
                for file, split in zip(pair.files, pair.splits, strict=True)
            ],
            "how": "mirrored, " * pair.is_mirrored + f"{pair.distance} of 256 bits differ",
        }
        for pair in shown
    ]


def _licenses(photographs: Iterable[Photograph]) -> list[tuple[str, int]]:
    """Returns (licence, number of photographs), the most frequent first."""
    of_file = {photograph.file: photograph.license for photograph in photographs}
    return sorted(Counter(of_file.values()).items(), key=lambda item: (-item[1], item[0]))
