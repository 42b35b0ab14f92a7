"""Compares the verifier with a bare loop that only decodes the same images, on all cores.

python -m benchmarks.verify --data_dir=D --images=20000
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from absl import flags

from cli import command, machine, paths
from data_prep import runners, verification
from tfrecords import framing, images, naming, schema, writer
from tfrecords.manifest import Manifest, dataset_digest, read_manifest

FLAGS = flags.FLAGS

paths.define("data_dir", None, "What data_prep.build made; repeated.", required=True)
flags.DEFINE_integer("images", 20_000, "How many to verify.", lower_bound=1)
flags.DEFINE_integer("runs", 5, "Of which the medians are printed.", lower_bound=1)

_SHARDS = 16


def main(arguments: list[str]) -> None:
    """Prints images a second for the bare loop, the verifier and its quick form."""
    command.refuse_arguments(arguments)
    with tempfile.TemporaryDirectory() as directory:
        manifest = _repeat(Path(FLAGS.data_dir), Path(directory), FLAGS.images)
        shards = [str(Path(directory) / shard.file) for shard in manifest.shards]
        size = sum(shard.bytes for shard in manifest.shards)
        print(f"{FLAGS.images} images, {size / 1e6:.0f} MB, {machine.cores()} cores")
        contestants: dict[str, Callable[[], object]] = {
            "decode alone": lambda: list(runners.run(_decode, shards, machine.cores())),
            "verify": lambda: verification.verify(Path(directory), manifest),
            "verify --quick": lambda: verification.verify(Path(directory), manifest, quick=True),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(FLAGS.runs):  # In turn, so that a busy moment hits all alike.
            for name, run in contestants.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
        ratios = [a / b for a, b in zip(seconds["decode alone"], seconds["verify"], strict=True)]
        for name, repetitions in seconds.items():
            print(f"{name}: {FLAGS.images / statistics.median(repetitions):.0f} images/s")
        print(f"verify runs at {statistics.median(ratios):.0%} of the rate of decoding alone")


def _repeat(source: Path, target: Path, count: int) -> Manifest:
    """Writes the examples of a dataset again and again into shards of one split."""
    manifest = read_manifest(source)
    records = [
        record.data
        for shard in manifest.shards
        for record in framing.read_frames((source / shard.file).open("rb"), shard.bytes)
    ]
    endless = itertools.cycle(records)
    shards = []
    for index in range(_SHARDS):
        members = count * (index + 1) // _SHARDS - count * index // _SHARDS
        path = target / naming.shard_name("train", index, _SHARDS)
        shards.append(writer.write_shard(path, itertools.islice(endless, members)))
    return Manifest(
        version=manifest.version,
        classes=manifest.classes,
        counts={"train": {}},
        shards=shards,
        digest=dataset_digest(shards),
        options={},
        dropped={},
        rejected=0,
    )


def _decode(path: str) -> None:
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        for record in framing.read_frames(file, size):
            images.decode(schema.parse_example(record.data).image)


if __name__ == "__main__":
    command.run(main)
