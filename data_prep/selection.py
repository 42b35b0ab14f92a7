"""Selects the examples from a source: label policy, files on disk, conflicts, classes, splits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.config import BuildConfig
from data_prep.digests import Digest, digest_photographs
from data_prep.examples import conflicts, labels, rare_classes, splits
from data_prep.examples.labels import Candidate
from data_prep.plan import Example
from data_prep.rejections import check_rejections
from data_prep.rules import Rule
from data_prep.sources import box_checks, headers
from data_prep.sources.photographs import Photograph, Rejection, Source
from tfrecords.schema import Box

_MOST_COMPARED = 1000  # Sizes: a tool that gets them wrong does so on more than one photograph.


Doubt = tuple[str, Box | None]
"""A photograph's content, and which part of it."""


class Found(NamedTuple):
    """A candidate whose photograph is there and has been read."""

    candidate: Candidate
    digest: Digest

    @property
    def shown(self) -> Doubt:
        """What it shows, whatever its label and its file."""
        return self.digest.content, self.candidate.crop


class Selection(NamedTuple):
    """What is to become examples, and what was left out on the way to it.

    Attributes:
        source: What it was selected from, without the classes that are left out.
        examples: The examples to be.
        photographs: Every photograph that was to make examples, usable or not.
        dropped: {rule: number of photographs or instances that it left out}.
        rejections: Photographs that cannot be had, and boxes that make no sense.
        conflicting: Photographs that stand under two labels.
        doubtful: What those photographs show.
        rare: Classes that were left out, with how many photographs they have, in words.
    """

    source: Source
    examples: list[Example]
    photographs: list[Photograph]
    dropped: Counter[Rule]
    rejections: list[Rejection]
    conflicting: list[Rejection]
    doubtful: frozenset[Doubt]
    rare: str = ""

    def also_dropped(self, rule: Rule, count: int) -> "Selection":
        """The same, with one more rule that left something out; 0 is counted too."""
        return self._replace(dropped=Counter({**self.dropped, rule: count}))


def select(config: BuildConfig, source: Source) -> Selection:
    """Decides which photographs, or crops, become examples; reads their digests, no pixels.

    Args:
        config: The build's options, with `split_by` settled.
        source: What the config names.

    Raises:
        ValueError: if too many photographs are unusable, if a photograph has two labels and
            --conflicts=error, or if a class that was asked for has too few examples.
    """
    found = _select(config, source)
    counts = rare_classes.count(
        [example.candidate for example in found.examples],
        [example.digest.content for example in found.examples],
        [example.split for example in found.examples],
        source.classes,
    )
    rare = rare_classes.find(counts, config.fewest_examples)
    words = rare_classes.in_words(counts, rare)
    if rare and not config.takes_all_classes:
        raise ValueError(
            f"A class has fewer photographs than --min_examples={config.fewest_examples}, or none "
            f"to train on. Received: {words}. {_left_out(found.dropped)}"
            f"{''.join(f' The first: {_named(r)}.' for r in found.conflicting[:1])} "
            "Take fewer --classes, or loosen what leaves photographs out."
        )
    rest = rare_classes.leave_out(source, rare) if rare else source
    _check_several(rest.classes, words, config)
    if not rare:
        _check_sizes(config, found.photographs)
        return found
    # A photograph that also showed a rare class may have a single class now. But a label that
    # another one contradicted does not become right because the other's class is gone.
    again = _select(config, rest, found)
    if gone := len(source.photographs) - len(rest.photographs):
        again = again.also_dropped(Rule.RARE_CLASS, gone)
    _check_sizes(config, again.photographs)
    return again._replace(rare=words)


def _select(config: BuildConfig, source: Source, before: Selection | None = None) -> Selection:
    choice = labels.choose(
        source.photographs,
        policy=config.label_policy,
        min_area=config.min_area,
        crop_margin=config.crop_margin,
    )
    candidates = choice.candidates
    bad_boxes = Counter({Rule.BAD_BOX: len(source.bad_boxes)})
    dropped = choice.dropped + Counter(source.dropped) + bad_boxes
    _check_every_class(config, source, Counter(c.label for c in candidates), dropped)
    digests, unusable = _digest(config, source, candidates)
    found = [
        Found(c, digests[c.photograph.path]) for c in candidates if c.photograph.path in digests
    ]
    certain, conflicting, doubtful = _without_conflicts(config, found, source.classes, before)
    return Selection(
        source=source,
        examples=_assign_splits(config, certain),
        photographs=[candidate.photograph for candidate in candidates],
        dropped=dropped + Counter({Rule.TWO_LABELS: len(conflicting)}),
        rejections=source.bad_boxes + unusable,
        conflicting=list(dict.fromkeys(conflicting)),
        doubtful=doubtful,
    )


def _assign_splits(config: BuildConfig, found: Sequence[Found]) -> list[Example]:
    return [
        Example(*each, split)
        for each, split in zip(found, splits.assign(config, *_columns(found)), strict=True)
    ]


def _columns(found: Sequence[Found]) -> tuple[list[Candidate], list[str]]:
    return [each.candidate for each in found], [each.digest.content for each in found]


def _digest(
    config: BuildConfig, source: Source, candidates: Sequence[Candidate]
) -> tuple[Mapping[str, Digest], list[Rejection]]:
    """Returns {path: digest} of what is on disk or was fetched, and what cannot be had."""
    photographs = [candidate.photograph for candidate in candidates]
    unfetched = _fetch(config, source, photographs)
    check_rejections(config, unfetched, photographs)
    read = digest_photographs(candidates, source.tree)
    known = {rejection.file for rejection in unfetched}
    unread = (rejection for rejection in read.unread if rejection.file not in known)
    unusable = [*source.bad_images, *unfetched, *unread]
    if not (config.dry_run and config.download):  # They are not fetched yet.
        check_rejections(config, unusable, photographs)
    return read.of_path, unusable


def _without_conflicts(
    config: BuildConfig, found: list[Found], classes: Sequence[str], before: Selection | None
) -> tuple[list[Found], list[Rejection], frozenset[Doubt]]:
    """Leaves out photographs under two labels, even if one is that of a class that is left out.

    Returns:
        What is certain, a rejection for each of the others, and what those others show.
    """
    known = before.doubtful if before else frozenset()
    found = [each for each in found if each.shown not in known]
    contradicted = _conflicts(config, found, classes)
    conflicting = [*(before.conflicting if before else ()), *contradicted.values()]
    certain = [each for index, each in enumerate(found) if index not in contradicted]
    return certain, conflicting, known | {found[index].shown for index in contradicted}


def _conflicts(
    config: BuildConfig, found: Sequence[Found], classes: Sequence[str]
) -> dict[int, Rejection]:
    """Returns {index into `found`: why it is left out}."""
    if config.conflicts == "keep":
        return {}
    contradicted = conflicts.find(*_columns(found), classes)
    if contradicted and config.conflicts == "error":
        first = next(iter(contradicted.values()))
        raise ValueError(
            f"{len(contradicted)} examples are of photographs that stand under two labels. "
            f"Received: {first.file}: {first.reason}. Mend the labels, or leave such "
            "photographs out with --conflicts=drop."
        )
    return contradicted


def _fetch(
    config: BuildConfig, source: Source, photographs: Sequence[Photograph]
) -> list[Rejection]:
    """Fetches photographs from the source's bucket, or those of COCO if the config says so."""
    source.tree.fetch((p.path for p in photographs), at_once=config.num_downloads)
    if not config.download or config.source != "coco" or config.dry_run:
        return []
    from data_prep.sources import download  # Brings requests, an eighth of the command's start.
    from data_prep.sources.http import Downloader

    return download.fetch_photographs(
        Downloader(),
        photographs,
        folder=Path(config.coco_dir or str(config.images_dir)),
        mirror=config.download_url,
        num_downloads=config.num_downloads,
        max_failures=int(config.max_bad_fraction * len({p.path for p in photographs})),
    )


def _check_sizes(config: BuildConfig, photographs: Sequence[Photograph]) -> None:
    """Compares annotated sizes with real ones: of every photograph for crops, else of some."""
    with_boxes = list({p.path: p for p in photographs if p.objects}.values())
    step = 1 if config.label_policy == "crop" else len(with_boxes) // _MOST_COMPARED + 1
    some = with_boxes[::step]  # Evenly spread.
    sizes = headers.read_sizes([photograph.path for photograph in some])
    box_checks.warn_or_refuse([box_checks.doubt_sizes(some, sizes)], config.label_policy)


def _check_every_class(
    config: BuildConfig, source: Source, counts: Counter[int], dropped: Mapping[Rule, int]
) -> None:
    """Refuses classes without any example before a file is opened for the others."""
    empty = [name for label, name in enumerate(source.classes) if not counts[label]]
    if empty and (not config.takes_all_classes or len(empty) == len(source.classes)):
        bad = [f"; the first: {_named(box)}" for box in source.bad_boxes[:1]]
        raise ValueError(
            f"No example is left for {', '.join(empty)}. {_left_out(dropped)[:-1]}{''.join(bad)}. "
            "Mend what is wrong with them, take fewer --classes, or loosen --label_policy or "
            "--min_area."
        )


def _named(rejection: Rejection) -> str:
    return f"{rejection.file}: {rejection.reason}"


def _left_out(dropped: Mapping[Rule, int]) -> str:
    rules = ", ".join(f"{rule}: {count}" for rule, count in dropped.items()) or "nothing"
    return f"Left out by the rules: {rules}."


def _check_several(classes: Sequence[str], rare: str, config: BuildConfig) -> None:
    if len(classes) < 2:
        few = f"; with fewer than --min_examples={config.fewest_examples}: {rare}" if rare else ""
        raise ValueError(
            "A classifier tells two classes or more apart. Received: "
            f"{', '.join(classes) or 'none'}{few}. Add photographs of another class."
        )
