"""What a run is made of, once it is built: from here on nothing is decided."""

import dataclasses
import math
from typing import Any

import keras

from trainer.config import TrainConfig
from trainer.data.split import Split
from trainer.distribute.workers import Workers
from trainer.features.cache import FeatureCache
from trainer.loop.verdict import Timing
from trainer.model.backbone import Backbone
from trainer.model.learning_rate import Schedule
from trainer.workdir.checkpoints import Checkpoints, Progress
from trainer.workdir.files import Workdir


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run at its first step, or at the one that it goes on from.

    Attributes:
        config: What it was asked for.
        backbone: The network before the head.
        identity: What makes it this run and no other.
        workdir: Where it goes.
        train_split: What it trains on.
        val_split: What it is validated on; None: on nothing, so that it ends without figures.
        model: Compiled, under its strategy, and set to the progress.
        schedule: Of the learning rate.
        checkpoints: Of the run.
        progress: How far it is.
        workers: Who take part in it.
        features: What it trains from; None: from the photographs.
        timing: Where the time of this process's steps goes.
    """

    config: TrainConfig
    backbone: Backbone
    identity: dict[str, Any]
    workdir: Workdir
    train_split: Split
    val_split: Split | None
    model: keras.Model
    schedule: Schedule | float
    checkpoints: Checkpoints
    progress: Progress
    workers: Workers
    features: FeatureCache | None
    timing: Timing = dataclasses.field(default_factory=Timing)

    @property
    def splits(self) -> list[Split]:
        """All that the run reads."""
        return [self.train_split, *([self.val_split] if self.val_split else [])]

    @property
    def num_replicas(self) -> int:
        """Over which the global batch is shared."""
        return self.model.distribute_strategy.num_replicas_in_sync

    @property
    def steps_per_epoch(self) -> int:
        """Full batches; the last one may reach into the next epoch's examples."""
        return steps_per_epoch(self.config, self.train_split)

    @property
    def num_steps(self) -> int:
        """Of all epochs."""
        return self.config.epochs * self.steps_per_epoch


def steps_per_epoch(config: TrainConfig, train_split: Split) -> int:
    """How many global batches hold every example."""
    return math.ceil(train_split.num_examples / config.batch_size)
