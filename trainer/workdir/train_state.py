"""The train state: all that changes from step to step beside the model, and how it is stored."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from trainer.workdir.history import Row, best_row, stops_early

# Fields under the names that checkpoints have held them by from the first version on.
_STORED_NAMES = {"skipped_batches": "left_out"}


@dataclasses.dataclass
class TrainState:
    """How far a run is.

    Attributes:
        step: Batches trained on.
        history: A row for each finished epoch, as in history.csv.
        seconds: Time spent training in the epoch under way.
        metrics: State of the metrics of the epoch under way.
        skipped_batches: Skipped batches, as indices into the stream: a step on each gave no
            number.
        microbatch: What --microbatch_size=auto has found.
    """

    step: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    metrics: list[float] = dataclasses.field(default_factory=list)
    skipped_batches: list[int] = dataclasses.field(default_factory=list)
    microbatch: int | None = None

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> Self:
        """Returns the state that a checkpoint holds, of this version or of an older one."""
        names = {stored_name: name for name, stored_name in _STORED_NAMES.items()}
        return cls(**{names.get(name, name): value for name, value in stored.items()})

    def stored(self) -> dict[str, Any]:
        """Returns what a checkpoint holds of it; JSON can represent it."""
        fields = dataclasses.asdict(self)
        return {_STORED_NAMES.get(name, name): value for name, value in fields.items()}

    @property
    def best(self) -> Row | None:
        """The row of the lowest val_loss, the earliest of equals; None before the first epoch."""
        return best_row(self.history)

    def stops_early(self, patience: int | None) -> bool:
        """Whether the last `patience` epochs were no better than the best one; None: never."""
        return stops_early(self.history, patience)

    def awaits_row(self, steps_per_epoch: int) -> bool:
        """Whether all steps of an epoch are done, and its validation and its row are not."""
        return self.step == steps_per_epoch * (len(self.history) + 1)
