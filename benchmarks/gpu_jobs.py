"""What benchmarks.gpu measures, most important first. Defines no flags, so that tests can plan."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple


class Recipe(NamedTuple):
    """What of a training makes a difference to its speed."""

    precision: str
    jit_compile: bool
    cache_features: str
    batch_size: int

    @property
    def flags(self) -> list[str]:
        """The flags of trainer.main that set it."""
        return [f"--{name}={str(value).lower()}" for name, value in self._asdict().items()]


class Job(NamedTuple):
    """One measurement: of a training, of the bounds for all batch sizes, or of what bits come.

    Attributes:
        kind: `training`; `bound`; `deterministic`, a training; `again` and `resumed`, whose bits
            are compared with those of the deterministic one.
        recipe: What is trained; for a bound only precision and jit_compile count.
    """

    kind: str
    recipe: Recipe

    @property
    def name(self) -> str:
        """The name of its entry in the log."""
        precision, jit_compile, features, batch_size = self.recipe
        name = f"{self.kind}, {precision}{', XLA' if jit_compile else ''}"
        if self.kind == "bound":
            return name
        return f"{name}, {batch_size}{', features' if features == 'on' else ''}"


def plan(
    precisions: Sequence[str],
    jit_compile: Sequence[bool],
    cache_features: Sequence[str],
    batch_sizes: Sequence[int],
) -> list[Job]:
    """Returns the jobs, most important first.

    The first of each list is what a user begins with. The first training is followed by its bound
    and by the runs whose bits are compared; then comes what departs from it in one of the four,
    then in two. A bound stands behind the first training that it is needed for.
    """
    choices = itertools.product(precisions, jit_compile, cache_features, batch_sizes)
    usual = Recipe(precisions[0], jit_compile[0], cache_features[0], batch_sizes[0])
    recipes = sorted(
        itertools.starmap(Recipe, choices),
        key=lambda recipe: sum(a != b for a, b in zip(recipe, usual, strict=True)),
    )
    jobs: list[Job] = []
    for recipe in recipes:
        bound = Job("bound", usual._replace(precision=recipe[0], jit_compile=recipe[1]))
        jobs += [Job("training", recipe), *([] if bound in jobs else [bound])]
        if recipe == usual:
            jobs += [Job(kind, usual) for kind in ("deterministic", "again", "resumed")]
    return jobs
