"""How many photographs may be unusable before a build is better mended than finished."""

from collections.abc import Sequence
from pathlib import Path

from data_prep import commit
from data_prep.config import BuildConfig
from data_prep.sources.photographs import Photograph, Rejection
from tfrecords import naming


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
    data_dir = Path(config.data_dir)
    where = ""
    if not config.dry_run:
        commit.write_rejections(data_dir, rejections)
        where = f" All are in {data_dir / naming.REJECTED}."
    file, reason = min(reasons.items())
    raise ValueError(
        f"{len(reasons)} of {num_photographs} photographs are unusable, more than "
        f"--max_bad_fraction={config.max_bad_fraction}. The first: {file}: {reason}.{where} Mend "
        "them, or allow a larger share."
    )
