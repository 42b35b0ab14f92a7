"""Checks that a dataset is what its manifest says: `python -m data_prep.verify`.

Every shard's size, sha256, record CRCs, counts and images, and leaks between splits, on all cores;
with --quick sizes and sha256 alone.
"""

from pathlib import Path

from absl import flags

from cli import command, paths
from data_prep.verification import verify
from tfrecords.manifest import read_manifest

FLAGS = flags.FLAGS

paths.define("data_dir", None, "What data_prep.build made.", required=True)
flags.DEFINE_boolean("quick", False, "Sizes and sha256 alone; no image is decoded.")
flags.DEFINE_integer("num_workers", None, "Processes; unset: this machine's cores.", lower_bound=1)


def main(arguments: list[str]) -> None:
    """Prints a line for each finding, or one that says that there is none."""
    command.refuse_arguments(arguments)
    data_dir = Path(FLAGS.data_dir)
    manifest = read_manifest(data_dir)
    findings = verify(data_dir, manifest, quick=FLAGS.quick, num_workers=FLAGS.num_workers)
    for finding in findings:
        print(finding)
    if findings:
        raise ValueError(
            f"{len(findings)} findings in {data_dir}, the first: {findings[0]}. Start its build "
            "again: only damaged shards are built anew. What its source has in two splits, "
            "--drop_near_duplicates leaves out of train."
        )
    examples = sum(shard.examples for shard in manifest.shards)
    looked_at = "sizes and sha256 of" if FLAGS.quick else "every byte and image of"
    print(f"As the manifest says: {looked_at} {len(manifest.shards)} shards, {examples} examples.")


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
