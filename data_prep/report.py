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

from cli import cores, page
from data_prep import charts, thumbnails
from data_prep.labels import POLICIES
from data_prep.near_duplicates import Pair
from data_prep.photographs import Photograph, Rejection
from data_prep.shards import ExampleSpec
from tfrecords import files, images, naming, originals
from tfrecords.manifest import Manifest
from tfrecords.unusable import UnusableImageError

_SHEET, _LEAST_SHEET, _MOST_EXAMPLES = 12, 3, 240  # Pictures of a class, and of all.
_MOST_REJECTED = 48
_MOST_PAIRS = 12
_MOST_HEADERS = 1000  # Read where the source does not say how large its photographs are.

RULES = {
    "no_instance_of_the_classes": "photographs that show none of the classes",
    "several_classes": "photographs that show more than one of the classes",
    "only_crowds": "photographs on which the class is marked as a crowd alone",
    "smaller_than_min_area": "photographs whose animal is smaller than --min_area",
    "crowd_not_cropped": "crowds, which are never cut out",
    "crop_smaller_than_min_area": "instances smaller than --min_area",
    "box_outside_or_empty": "boxes outside their photograph, or of no size",
    "annotation_of_unknown_image": "annotations of a photograph that the file does not list",
    "annotation_of_unknown_category": "annotations of a category that the file does not list",
    "near_duplicate_of_another_split": "photographs of train that look like one of another split",
}


class Contents(NamedTuple):
    """What a dataset was made from and what came of it.

    Attributes:
        source: What was recognised, for a person.
        examples: Those that the shards hold.
        photographs: {file: photograph} of the whole source.
        rejections: Of photographs and boxes.
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
        split_names=[split for split in charts.SPLIT_COLOURS if split in manifest.counts],
        facts=_facts(manifest, contents.source),
        charts=_charts(manifest, contents.examples),
        dropped=[(count, RULES[rule]) for rule, count in manifest.dropped.items() if count],
        reasons=sorted(reasons.items(), key=lambda item: (-item[1], item[0])),
        rejected=_rejected(contents),
        num_rejections=len(contents.rejections),
        pairs=_pairs(contents),
        licenses=_licenses(contents.photographs[example.file] for example in contents.examples),
        sheets=_sheets(manifest.classes, contents.examples),
    )
    files.write_atomically(data_dir / naming.REPORT, content)


def _facts(manifest: Manifest, source: str) -> dict[str, str]:
    options = manifest.options
    facts = {"Source": source}
    if options["source"] != "folder":
        facts["Labels"] = POLICIES[options["label_policy"]]
        if options["label_policy"] == "crop":
            facts["Labels"] += f", widened by {options['crop_margin']:.0%} of its box on each side"
        if options["min_area"]:
            facts["Smallest animal"] = f"{options['min_area']:.2%} of the photograph, by its box"
    else:
        facts["Labels"] = "the folder of a photograph is its class"
    by_hash = f"stratified by class, by content, salt {options['salt']!r}"
    facts["Splits"] = by_hash if options["split_by"] == "hash" else "as the source has them"
    size = options["image_size"]
    facts["Stored as"] = f"JPEG, short side {size} pixels at most" if size else "the original size"
    facts["Shards"] = (
        f"{len(manifest.shards)}, {sum(s.bytes for s in manifest.shards) / 1e6:,.1f} MB"
    )
    facts["Digest"] = manifest.digest
    return facts


def _charts(manifest: Manifest, examples: Sequence[ExampleSpec]) -> list[dict[str, Any]]:
    drawn = [("Examples of each class", "", charts.draw_counts(manifest.counts))]
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
    """(width, height) of each photograph once; of a sample, where files must be opened for it."""
    of_file = {example.file: example for example in examples}
    if all(min(example.size) > 0 for example in of_file.values()):
        return [example.size for example in of_file.values()]
    sample = heapq.nsmallest(_MOST_HEADERS, of_file.values(), key=_chance)
    sizes = []
    for example in sample:
        with contextlib.suppress(OSError, UnusableImageError):  # It was well when it was stored.
            sizes.append(images.stored_size(originals.read_original(example.path)))
    return sizes


def _labelled_area(example: ExampleSpec) -> float:
    """Share of the photograph under the box that made the label; 0 where there is none."""
    if example.crop is not None:
        return example.crop.area
    areas = [o.box.area for o in example.objects if o.label == example.label and not o.is_crowd]
    return max(areas, default=0.0)


def _chance(example: ExampleSpec) -> tuple[str, str, str]:
    """An order that has nothing to do with names, and is the same for every build."""
    return example.content, example.file, str(example.crop)


def _sheets(classes: Sequence[str], examples: Sequence[ExampleSpec]) -> list[dict[str, Any]]:
    each = max(_LEAST_SHEET, min(_SHEET, _MOST_EXAMPLES // len(classes)))
    of_label: dict[int, list[ExampleSpec]] = {label: [] for label in range(len(classes))}
    for example in examples:
        of_label[example.label].append(example)
    shown = [heapq.nsmallest(each, members, key=_chance) for members in of_label.values()]
    with ThreadPoolExecutor(cores.available()) as pool:  # Decoding lets go of the GIL.
        pictures = pool.map(thumbnails.of_example, itertools.chain.from_iterable(shown))
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
    shown = sorted(contents.rejections, key=lambda r: (r.file, r.annotation_id or 0, r.reason))
    return [
        {
            "file": rejection.file,
            "reason": rejection.reason,
            "thumbnail": thumbnails.of_rejected(contents.photographs[rejection.file].path),
        }
        for rejection in shown[:_MOST_REJECTED]
    ]


def _pairs(contents: Contents) -> list[dict[str, Any]]:
    shown = sorted(contents.pairs, key=lambda pair: (pair.distance, pair.files))[:_MOST_PAIRS]
    return [
        {
            "members": [
                (thumbnails.of_rejected(contents.photographs[file].path), split, file)
                for file, split in zip(pair.files, pair.splits, strict=True)
            ],
            "how": "mirrored, " * pair.is_mirrored + f"{pair.distance} of 256 bits differ",
        }
        for pair in shown
    ]


def _licenses(photographs: Iterable[Photograph]) -> list[tuple[str, int]]:
    """(licence, number of photographs), the most frequent first."""
    of_file = {photograph.file: photograph.license for photograph in photographs}
    return sorted(Counter(of_file.values()).items(), key=lambda item: (-item[1], item[0]))
