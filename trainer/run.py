"""What a run is made of, once it is built: from here on nothing is decided."""

import dataclasses
import functools
import math
from typing import Any

import keras
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.data.examples import shuffle_window
from trainer.data.order import Order
from trainer.data.source import PhotographSource, Source
from trainer.data.split import Split
from trainer.distribute.workers import Workers
from trainer.features.source import FeatureSource
from trainer.loop.phases import Phases
from trainer.loop.timing import Timing
from trainer.model.backbone import Backbone
from trainer.model.learning_rate import Schedule
from trainer.results import evaluation
from trainer.workdir.checkpoints import Checkpoints
from trainer.workdir.files import Workdir
from trainer.workdir.train_state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run at its first step, or at the one that it goes on from.

    Attributes:
        config: What it was asked for.
        backbone: The network before the head.
        identity: What makes it this run and no other.
        val_split: What it is validated on; None: on nothing, so that it ends without figures.
        model: Compiled, under its strategy, and set to the state.
        schedule: The learning rate: one number, or a function of the step.
        state: The train state: how far it is.
        photographs: What it trains from, unless there are features.
        features: What it trains from once they are computed; None: from the photographs.
        timing: Where the time of this process's steps goes.
        phases: Where all of its time goes.
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
    state: TrainState
    workers: Workers
    photographs: PhotographSource
    features: FeatureSource | None
    timing: Timing = dataclasses.field(default_factory=Timing)
    phases: Phases = dataclasses.field(default_factory=Phases)

    @property
    def splits(self) -> list[Split]:
        """The splits that the run reads."""
        return [self.train_split, *([self.val_split] if self.val_split else [])]

    @property
    def source(self) -> Source:
        """Where its batches come from."""
        return self.features or self.photographs

    @functools.cached_property
    def validation_batches(self) -> list[tf.distribute.DistributedDataset]:
        """The batches of `val_split`, by its tested views: each epoch runs their graphs anew."""
        assert self.val_split
        return evaluation.distributed_batches(
            self.model, self.source, self.val_split, self.config.batch_size
        )

    @property
    def order(self) -> Order:
        """The order of its training examples."""
        return Order(
            self.config.seed,
            self.config.batch_size,
            self._window,
            tuple(self.state.skipped_batches),
        )

    @functools.cached_property
    def _window(self) -> int:
        return shuffle_window(self.train_split, self.config)

    @property
    def num_replicas(self) -> int:
        """Replicas over all workers; each takes an equal part of the global batch."""
        return self.model.distribute_strategy.num_replicas_in_sync

    @property
    def steps_per_epoch(self) -> int:
        """Full batches; the last one may reach into the next epoch's examples."""
        return steps_per_epoch(self.config, self.train_split)

    @property
    def num_steps(self) -> int:
        """Training steps of the whole run."""
        return self.config.epochs * self.steps_per_epoch


def steps_per_epoch(config: TrainConfig, train_split: Split) -> int:
    """Returns how many global batches hold every example, the last one not always full."""
    return math.ceil(train_split.num_examples / config.batch_size)
