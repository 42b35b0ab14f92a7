"""Checks that a dataset is what its manifest says: `python -m data_prep.verify`.

Every shard's size, sha256, record CRCs, counts and images, and leaks between splits, on all cores;
with --quick sizes and sha256 alone.
"""

import dataclasses

from cli import command, flags
from cli.data_cache import DataCache
from cli.flags import BucketPath, Positive
from data_prep.verification import verify
from tfrecords.data_folder import DataFolder
from tfrecords.manifest import read_manifest
from tfrecords.shard_cache import ShardCache


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyConfig(DataCache):
    """Options of `python -m data_prep.verify`, each above its help."""

    data_dir: BucketPath
    """What data_prep.build made."""
    quick: bool = False
    """Sizes and sha256 alone; no image is decoded. Of a bucket every byte is fetched even so."""
    num_workers: Positive | None = None
    """Processes; unset: this machine's cores."""

    def __post_init__(self) -> None:
        flags.check(self)


flags.define(VerifyConfig)


def main(arguments: list[str]) -> None:
    """Prints a line for each finding, or one that says that there is none."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(VerifyConfig)
    manifest = read_manifest(config.data_dir)
    cache = ShardCache(config.data_cache, config.data_cache_gib)
    if DataFolder(config.data_dir).store:
        cache.check(manifest.shards)
    findings = verify(
        config.data_dir,
        manifest,
        quick=config.quick,
        num_workers=config.num_workers,
        cache=cache,
    )
    for finding in findings:
        print(finding)
    if findings:
        folder = DataFolder(config.data_dir)
        raise ValueError(
            f"{len(findings)} findings in {folder}, the first: {findings[0]}. Start its build "
            "again: only damaged shards are built anew. What its source has in two splits, "
            "--drop_near_duplicates leaves out of train."
        )
    examples = sum(shard.examples for shard in manifest.shards)
    looked_at = "sizes and sha256 of" if config.quick else "every byte and image of"
    print(f"As the manifest says: {looked_at} {len(manifest.shards)} shards, {examples} examples.")


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
