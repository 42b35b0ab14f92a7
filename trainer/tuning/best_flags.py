"""The flagfile of a recipe: every flag that decides what comes out and is not at its default."""

import dataclasses
from collections.abc import Sequence

from cli import flags
from trainer.config import TrainConfig

_NO_RECIPES = ("fold", "fold_seed", "cache_maps")  # How a trial is measured.


def flagfile(recipe: TrainConfig, comments: Sequence[str] = ()) -> str:
    """Returns the text of a file that `--flagfile` takes.

    Args:
        recipe: Of which run does not matter.
        comments: Lines that stand above.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    given = {
        name: value
        for name in flags.identity_of(TrainConfig)
        if name not in _NO_RECIPES and (value := getattr(recipe, name)) != defaults[name]
    }
    lines = [f"--{name}={value}" for name, value in given.items()]
    return "\n".join([*(f"# {comment}" for comment in comments), *lines, ""])
