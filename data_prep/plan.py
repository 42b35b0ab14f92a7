"""Plans the shards: a pure function of examples and options, which opens no file.

Which example goes into which shard, in which order, is decided by hashes alone, so every machine
that reads the same photographs makes the same plan.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from data_prep.config import BuildConfig
from data_prep.digests import Digest
from data_prep.examples.labels import Candidate
from data_prep.shards import ExampleSpec, ShardTask
from data_prep.sources.photographs import Photograph
from tfrecords import naming, order


class Example(NamedTuple):
    """An example to be: a photograph or a crop with its label, what its file holds, its split."""

    candidate: Candidate
    digest: Digest
    split: str

    @property
    def photograph(self) -> Photograph:
        """The photograph that it shows, all of it or a crop."""
        return self.candidate.photograph


def plan_shards(config: BuildConfig, examples: Sequence[Example]) -> list[ShardTask]:
    """Decides which example goes into which shard, in which order."""
    of_split: dict[str, list[ExampleSpec]] = defaultdict(list)
    for example in examples:
        of_split[example.split].append(_spec(example))
    return [task for split in sorted(of_split) for task in _tasks(config, split, of_split[split])]


def _spec(example: Example) -> ExampleSpec:
    photograph, digest = example.photograph, example.digest
    return ExampleSpec(
        path=photograph.path,
        content=digest.content,
        stamp=digest.stamp,
        file=photograph.file,
        filename=photograph.name,
        image_id=photograph.image_id,
        label=example.candidate.label,
        size=photograph.size,
        objects=photograph.objects,
        crop=example.candidate.crop,
        drawn_as_shown=photograph.drawn_as_shown,
        decoder=digest.decoder,
    )


def _tasks(config: BuildConfig, split: str, examples: list[ExampleSpec]) -> list[ShardTask]:
    def key(example: ExampleSpec) -> bytes:
        # The name and the crop tell copies and crops of one photograph apart.
        return order.order_key(config.salt, f"{example.content}/{example.filename}/{example.crop}")

    examples = sorted(examples, key=key)
    stored_bytes = sum(example.stamp.size for example in examples)
    num_shards = config.num_shards or order.choose_num_shards(
        len(examples), stored_bytes, config.shard_mib
    )
    return [
        ShardTask(
            data_dir=config.data_dir,
            file=naming.shard_name(split, index, num_shards),
            image_size=config.image_size,
            examples=members,
        )
        for index, members in enumerate(order.deal(examples, num_shards))
    ]
