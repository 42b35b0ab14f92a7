"""Plans a build before any pixel is decoded: pure, but for reading each photograph's digest."""

import concurrent.futures
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from data_prep import splits
from data_prep.config import BuildConfig
from data_prep.labels import Candidate
from data_prep.photographs import Rejection
from data_prep.shards import ExampleSpec, ShardTask
from tfrecords import naming, plan


def digest_photographs(candidates: Sequence[Candidate]) -> tuple[dict[str, str], list[Rejection]]:
    """Reads each photograph once.

    Returns:
        {path: hex sha256 of the photograph's bytes}, and a rejection for each that is not there.
    """
    file_of = {c.photograph.path: c.photograph.file for c in candidates}

    def digest(path: str) -> str | None:
        try:
            with Path(path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    with concurrent.futures.ThreadPoolExecutor() as pool:  # Hashing lets go of the GIL.
        digests = dict(zip(file_of, pool.map(digest, file_of), strict=True))
    missing = [Rejection(file_of[p], "not on disk") for p, found in digests.items() if not found]
    return {path: found for path, found in digests.items() if found}, missing


def plan_shards(
    config: BuildConfig, candidates: Sequence[Candidate], digests: dict[str, str]
) -> list[ShardTask]:
    """Decides which example goes into which shard, in which order.

    Args:
        config: Of the build.
        candidates: The examples to be.
        digests: {path: hex sha256 of the photograph's bytes}.
    """
    contents = [digests[candidate.photograph.path] for candidate in candidates]
    of_split: dict[str, list[ExampleSpec]] = defaultdict(list)
    for candidate, content, split in zip(
        candidates, contents, _splits(config, candidates, contents), strict=True
    ):
        photograph = candidate.photograph
        of_split[split].append(
            ExampleSpec(
                path=photograph.path,
                content=content,
                file=photograph.file,
                filename=photograph.name,
                image_id=photograph.image_id,
                label=candidate.label,
                size=photograph.size,
                objects=photograph.objects,
                crop=candidate.crop,
            )
        )
    for name, fraction in (("val", config.val_fraction), ("test", config.test_fraction)):
        if config.split_by == "hash" and fraction and name not in of_split:
            raise ValueError(
                f"No example is left for the split {name!r}. "
                f"Received: {len(candidates)} examples in all, {name}_fraction={fraction}."
            )
    return [task for split in sorted(of_split) for task in _tasks(config, split, of_split[split])]


def _tasks(config: BuildConfig, split: str, examples: list[ExampleSpec]) -> list[ShardTask]:
    def order(example: ExampleSpec) -> bytes:
        # The name and the crop tell copies and crops of one photograph apart.
        return plan.order_key(config.salt, f"{example.content}/{example.filename}/{example.crop}")

    examples = sorted(examples, key=order)
    stored_bytes = sum(Path(example.path).stat().st_size for example in examples)
    num_shards = config.num_shards or plan.choose_num_shards(
        len(examples), stored_bytes, config.shard_mib
    )
    return [
        ShardTask(
            data_dir=config.data_dir,
            file=naming.shard_name(split, index, num_shards),
            image_size=config.image_size,
            examples=members,
        )
        for index, members in enumerate(plan.deal(examples, num_shards))
    ]


def _splits(
    config: BuildConfig, candidates: Sequence[Candidate], contents: Sequence[str]
) -> list[str]:
    if config.split_by == "hash":
        return splits.split_by_hash(
            candidates,
            contents,
            val_fraction=config.val_fraction,
            test_fraction=config.test_fraction,
            salt=config.salt,
        )
    of_source = [candidate.photograph.source_split for candidate in candidates]
    if not all(of_source) or "train" not in of_source:
        raise ValueError(
            "--split_by=source needs a source that says train, val or test. Received: "
            f"{', '.join(sorted({split or 'none' for split in of_source}))}. Use --split_by=hash."
        )
    return of_source
