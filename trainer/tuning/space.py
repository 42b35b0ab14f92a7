"""The space that is searched: which flags, their ranges, and which go together."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from trainer.config import TrainConfig
from trainer.model.backbone import Backbone

Flags = dict[str, Any]

# Of what tells features apart, what is searched.
OF_FEATURES = ("input_size", "augment", "test_views")


class Suggests(Protocol):
    """What draws a value of each name: an Optuna trial."""

    def suggest_categorical(self, name: str, choices: tuple[Any, ...]) -> Any:
        """Returns one of them."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        """Returns a number between these, both included."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None, log: bool
    ) -> float:
        """Returns a number between these, both included."""


class Choice(NamedTuple):
    """One of several values."""

    values: tuple[Any, ...]

    def draw(self, name: str, trial: Suggests) -> Any:
        """Returns a value."""
        return trial.suggest_categorical(name, self.values)


class Number(NamedTuple):
    """A number between two; without a step, as likely in each decade, and of two digits."""

    low: float
    high: float
    step: float | None = None

    def draw(self, name: str, trial: Suggests) -> float:
        """Returns a value."""
        drawn = trial.suggest_float(
            name, self.low, self.high, step=self.step, log=self.step is None
        )
        return round(drawn, 6) if self.step else float(f"{drawn:.2g}")


class Count(NamedTuple):
    """A whole number between two, as likely to be doubled anywhere."""

    low: int
    high: int

    def draw(self, name: str, trial: Suggests) -> int:
        """Returns a value."""
        return trial.suggest_int(name, self.low, self.high, log=True)


class Dimension(NamedTuple):
    """One thing that is searched.

    Attributes:
        name: A flag's; or `mirrored`, `places` or `trained`, which decide flags.
        range: What it is drawn from.
        matters: Whether it is drawn, once what stands before it in the table is.
    """

    name: str
    range: Choice | Number | Count
    matters: Callable[[Flags], bool] = lambda flags: True


def _is_fitted(flags: Flags) -> bool:
    return flags["head_init"] == "logistic"


def _trains(flags: Flags) -> bool:
    return flags["trained"] == "yes" and flags["epochs"] > 0


# flatten is not among the heads: of few photographs its many weights learn each by heart.
_HEADS = Choice(("gap", "gmp", "gem", "gap_gmp"))
_NO_YES = Choice(("no", "yes"))
_FEWEST_EPOCHS, _MOST_EPOCHS = 5, 60


@dataclasses.dataclass(frozen=True)
class Space:
    """The recipes that a search may try.

    Attributes:
        base: The recipe that the user's flags give, all others at their defaults.
        fixed: The names of the flags that were given, which are not searched.
        backbone: The base's.
        sizes: Values of --input_size to choose from; none: the base's.
        has_boxes: Whether the photographs come with boxes, which --head=places needs.
    """

    base: TrainConfig
    fixed: frozenset[str]
    backbone: Backbone
    sizes: tuple[int, ...] = ()
    has_boxes: bool = True

    def table(self) -> tuple[Dimension, ...]:
        """Returns what is searched, in the order in which it is drawn."""
        norms = ("none", "l2", "power_l2", *(["standardize"] if self.has_features else []))
        low = self._fewest_epochs
        table = (
            Dimension("input_size", Choice(self.sizes), lambda _: bool(self.sizes)),
            Dimension("mirrored", _NO_YES),
            Dimension("augment", Choice(("none", "flip"))),
            Dimension("test_views", Choice(("1", "flip"))),
            Dimension("head_init", Choice(("random", "logistic")), lambda _: self.may_be_fitted),
            Dimension("head", _HEADS),
            Dimension("places", _NO_YES, lambda flags: self._may_have_places(flags)),
            Dimension("feature_norm", Choice(norms)),
            Dimension("class_weights", Choice(("none", "balanced"))),
            Dimension("head_units", Choice((0, 64, 256)), lambda flags: not _is_fitted(flags)),
            Dimension("trained", _NO_YES, lambda flags: self._may_stay(flags)),
            Dimension("epochs", Count(low, max(_MOST_EPOCHS, 2 * low)), _trains),
            Dimension("optimizer", Choice(("sgd", "adamw")), _trains),
            Dimension("learning_rate", Number(1e-5, 3e-2), _trains),
            Dimension(
                "weight_decay",
                Number(1e-5, 1e-1),
                lambda flags: _trains(flags) and flags["optimizer"] == "adamw",
            ),
            Dimension("dropout", Number(0, 0.7, 0.1), _trains),
            Dimension("label_smoothing", Number(0, 0.2, 0.05), _trains),
        )
        # Photographs are mirrored in training and test or in neither, so that few features are
        # kept, unless one of both is given.
        both_free = not self.fixed & {"augment", "test_views"}
        left_out = {"augment", "test_views"} if both_free else {"mirrored"}
        return tuple(each for each in table if each.name not in self.fixed | left_out)

    def propose(self, trial: Suggests) -> Flags:
        """Returns the searched flags of a trial, {name: value}; all go together."""
        flags = self._at_first()
        drawn: Flags = {}
        for name, range, matters in self.table():
            if matters(flags):
                drawn[name] = flags[name] = range.draw(name, trial)
        return self._in_flags(drawn, flags)

    def is_empty(self) -> bool:
        """Whether all is settled by what was given."""
        flags = self._at_first()
        return not any(each.matters(flags) for each in self.table())

    def _at_first(self) -> Flags:
        return dataclasses.asdict(self.base) | {"trained": "yes", "places": "no"}

    def _in_flags(self, drawn: Flags, flags: Flags) -> Flags:
        """Returns the flags that what was drawn stands for."""
        found = {name: value for name, value in drawn.items() if name in _NAMES}
        if drawn.get("mirrored") == "yes":
            found |= {"augment": "flip", "test_views": "flip"}
        if drawn.get("places") == "yes":
            found["head"] = "places"
        if _is_fitted(flags):
            found["head_units"] = 0
        elif self._freezes_all:  # A head alone trains: a trial then takes seconds.
            found["freeze_layers"] = self.backbone.num_layers
        if flags["trained"] == "no":
            found |= {"epochs": 0, "dropout": 0.0}
        return {name: value for name, value in found.items() if name not in self.fixed}

    @property
    def has_features(self) -> bool:
        """Whether a trial can train from features."""
        base = self.base
        changing = base.mixup or base.cutmix or (base.augment == "full" and not base.cache_views)
        return not changing and base.freeze_layers != 0 and base.cache_features != "off"

    @property
    def may_be_fitted(self) -> bool:
        """Whether a trial may begin with the logistic regression."""
        linear = "head_units" not in self.fixed or self.base.head_units == 0
        return self.has_features and linear

    @property
    def shared(self) -> Flags:
        """The flags by which trials keep one set of features; no part of a recipe."""
        if not self.has_features:
            return {}
        on = {} if self.fixed & {"cache_features", "freeze_until"} else {"cache_features": "on"}
        return {"cache_maps": True, **on}

    def trains_head_alone(self, flags: Flags) -> bool:
        """Whether no layer of the backbone trains under these flags, and features stand for it.

        A trial that may have to go back to a checkpoint, or that starts from another run's head, is
        a run of its own all the same.
        """
        recipe = dataclasses.replace(self.base, **flags)
        if recipe.on_nan == "rollback" or recipe.init_from:
            return False
        if recipe.unfreeze or recipe.freeze_until is not None:
            return False
        if self.shared.get("cache_features", recipe.cache_features) != "on":
            return False
        count = recipe.freeze_layers
        if count is None:
            return recipe.head_init == "logistic" or self.backbone.freeze_layers is None
        return count == self.backbone.num_layers

    @property
    def _freezes_all(self) -> bool:
        given = self.fixed & {"freeze_layers", "freeze_until"}
        return not given and self.backbone.freeze_layers is not None

    @property
    def _fewest_epochs(self) -> int:
        last = max((epoch for epoch, _ in self.base.unfreezings), default=0)
        return max(_FEWEST_EPOCHS, math.floor(self.base.warmup_epochs) + 1, last)

    def _may_have_places(self, flags: Flags) -> bool:
        is_free = "head" not in self.fixed and flags["head"] == "gap_gmp"
        return self.has_boxes and is_free and _is_fitted(flags)

    def _may_stay(self, flags: Flags) -> bool:
        """Whether a trial may do without an epoch."""
        needs = self.base.warmup_epochs >= 1 or self.base.unfreezings
        return _is_fitted(flags) and not needs and "epochs" not in self.fixed


_NAMES = {field.name for field in dataclasses.fields(TrainConfig)}


def in_words(flags: Mapping[str, Any]) -> str:
    """Returns flags as they are given."""
    return " ".join(f"--{name}={value}" for name, value in flags.items())
