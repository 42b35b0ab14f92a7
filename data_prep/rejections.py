"""Photographs and boxes that cannot be used: their list on disk, and how many are too many."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from data_prep import target
from data_prep.config import BuildConfig
from data_prep.sources.photographs import Photograph, Rejection
from tfrecords import files, naming


def check_rejections(
    config: BuildConfig, rejections: Sequence[Rejection], photographs: Sequence[Photograph]
) -> None:
    """Fails above the allowed share of unusable photographs, with the list on disk.

    Raises:
        ValueError: with the first of them.
    """
    reasons = {r.file: r.reason for r in rejections if r.annotation_id is None}
    num_photographs = len({photograph.path for photograph in photographs})
    if len(reasons) <= config.max_bad_fraction * num_photographs:
        return
    where = ""
    if not config.dry_run:
        place = target.of(config.data_dir)
        write_rejections(place.folder, rejections)
        place.put(naming.REJECTED)
        where = f" All are in {place.place_of(naming.REJECTED)}."
    file, reason = min(reasons.items())
    raise ValueError(
        f"{len(reasons)} of {num_photographs} photographs are unusable, more than "
        f"--max_bad_fraction={config.max_bad_fraction}. The first: {file}: {reason}.{where} Mend "
        "them, or allow a larger share."
    )


def write_rejections(data_dir: Path, rejections: Iterable[Rejection]) -> None:
    """Writes `rejected.jsonl`: a line for each photograph or box that cannot be used."""
    lines = sorted(msgspec.json.encode(rejection) + b"\n" for rejection in rejections)
    files.write_atomically(data_dir / naming.REJECTED, b"".join(lines))
