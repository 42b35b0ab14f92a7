"""Assigns each photograph its split: the source's, or a stratified one by a hash of its content."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from data_prep.config import BuildConfig, SplitBy
from data_prep.examples.labels import Candidate
from data_prep.sources.photographs import Photograph
from tfrecords.order import order_key


def settle(split_by: SplitBy, photographs: Sequence[Photograph]) -> SplitBy:
    """Returns `source` or `hash`: what `auto` comes to for a source.

    Photographs that a person has kept apart are not mixed again.

    Args:
        split_by: `auto`, or the choice to keep to.
        photographs: All of the source's, also those that will be left out.

    Raises:
        ValueError: if a source has splits but not for all photographs, or several of them but
            none to train on.
    """
    found = Counter(photograph.source_split for photograph in photographs)
    if split_by == "hash" or (split_by == "auto" and len(found) < 2):  # One keeps nothing apart.
        return "hash"
    if found[""] or not found["train"]:
        homeless = next((p.file for p in photographs if not p.source_split), "")
        where = f", such as {homeless}" if homeless else ""
        raise ValueError(
            "The splits of a source must be train, and val or test, for every photograph. "
            f"Received: {_in_words(found)}{where}. Rename what has none, leave it out, or have all "
            "photographs dealt out anew: Use --split_by=hash."
        )
    return "source"


def _in_words(found: Counter[str]) -> str:
    return ", ".join(f"{count} in {split or 'no split'}" for split, count in sorted(found.items()))


def assign(
    config: BuildConfig, candidates: Sequence[Candidate], contents: Sequence[str]
) -> list[str]:
    """Returns the split of each candidate.

    Where the source's splits are kept, a split that it lacks is cut from `train`.

    Args:
        config: The build's options, with `split_by` settled.
        candidates: The examples to be.
        contents: For each candidate, the hex digest of its photograph's bytes.
    """
    kept = ["train"] * len(candidates)
    if config.split_by == "source":
        kept = [candidate.photograph.source_split for candidate in candidates]
    to_deal = [index for index, split in enumerate(kept) if split == "train"]
    dealt = split_by_hash(
        [candidates[index] for index in to_deal],
        [contents[index] for index in to_deal],
        val_fraction=0.0 if "val" in kept else config.val_fraction,
        test_fraction=0.0 if "test" in kept else config.test_fraction,
        salt=config.salt,
    )
    splits = list(kept)
    for index, split in zip(to_deal, dealt, strict=True):
        splits[index] = split
    return splits


def check_filled(config: BuildConfig, splits: Sequence[str]) -> None:
    """Refuses a plan in which a split that was asked for has no example.

    Args:
        config: The build's options, with `split_by` settled.
        splits: The split of each example.
    """
    for name, fraction in (("val", config.val_fraction), ("test", config.test_fraction)):
        if config.split_by == "hash" and fraction and name not in splits:
            raise ValueError(
                f"No example is left for the split {name!r}. "
                f"Received: {len(splits)} examples in all, {name}_fraction={fraction}."
            )


def describe(config: BuildConfig, photographs: Sequence[Photograph]) -> str:
    """Says where the splits come from, for a person.

    Args:
        config: The build's options, with `split_by` settled.
        photographs: All of the source's, also those that will be left out.
    """
    known = {p.source_split for p in photographs} if config.split_by == "source" else {"train"}
    cut = ", ".join(
        f"{name} {fraction:.0%} of each class"
        for name, fraction in (("val", config.val_fraction), ("test", config.test_fraction))
        if fraction and name not in known
    )
    if config.split_by == "hash":
        return f"dealt out by a hash of each photograph's content: {cut or 'all in train'}"
    kept = "as the source has them"
    return f"{kept}; cut from its train: {cut}" if cut else kept


def split_by_hash(
    candidates: Sequence[Candidate],
    contents: Sequence[str],
    *,
    val_fraction: float,
    test_fraction: float,
    salt: str,
) -> list[str]:
    """Returns the split of each candidate.

    Candidates with the same content, be it two copies of a file or two crops of a photograph, go
    to one split together. Within each class, contents are ranked by a salted hash; the first go to
    `val`, the next to `test`, the rest to `train`.

    Args:
        candidates: The examples to be.
        contents: For each candidate, the hex digest of its photograph's bytes.
        val_fraction: Share of each class for `val`; one photograph at least, if there are two.
        test_fraction: The same for `test`.
        salt: Another salt gives another split.
    """
    label_of: dict[str, int] = {}  # A photograph with several labels counts for its lowest.
    for candidate, content in zip(candidates, contents, strict=True):
        label_of[content] = min(candidate.label, label_of.get(content, candidate.label))
    contents_of: dict[int, list[str]] = defaultdict(list)
    for content, label in label_of.items():
        contents_of[label].append(content)

    split_of: dict[str, str] = {}
    for members in contents_of.values():
        members.sort(key=lambda content: order_key(salt, content))
        num_val = _count(val_fraction, len(members))
        num_test = _count(test_fraction, len(members) - num_val, of=len(members))
        for rank, content in enumerate(members):
            in_val, in_test = rank < num_val, rank < num_val + num_test
            split_of[content] = "val" if in_val else "test" if in_test else "train"
    return [split_of[content] for content in contents]


def _count(fraction: float, available: int, of: int | None = None) -> int:
    """Returns the fraction of `of`, rounded half up; at least 1, unless `train` would get none."""
    if not fraction or available < 2:
        return 0
    wanted = math.floor(fraction * (of or available) + 0.5)
    return min(max(1, wanted), available - 1)
