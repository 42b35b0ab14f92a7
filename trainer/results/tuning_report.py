"""The report of a search for a recipe: one self-contained page for a person to read."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from cli import page
from tfrecords import files
from trainer.results import plots
from trainer.results.figures import figures_of_nothing
from trainer.results.report import Photographs, Title, shared_content

_STATES = ("finished", "given up", "failed")


class Tried(NamedTuple):
    """A trial.

    Attributes:
        number: Of its folder.
        state: `finished`; `given up`, after some of the folds; or `failed`.
        loss: Cross-entropy on the folds so far; None: there is none yet.
        accuracy: The same.
        folds: How many it was tried on.
        flags: What was searched, {name: value}.
    """

    number: int
    state: str
    loss: float | None
    accuracy: float | None
    folds: int
    flags: Mapping[str, Any]


def write_report(
    path: str | os.PathLike[str],
    *,
    title: Title,
    tried: Sequence[Tried],
    importance: Mapping[str, float],
    facts: Mapping[str, str],
    command: str,
    measured: str | None = None,
) -> None:
    """Writes the page.

    Args:
        path: The HTML file to write.
        title: Which search the page is of.
        tried: Its trials, as they were made; one at least is finished.
        importance: {what was searched: its share of what trials differ in}.
        facts: What to say of it, {name: value}.
        command: What says how good the winner is.
        measured: What it said; None: it was not started yet.
    """
    finished = [each for each in tried if each.state == "finished"]
    content = page.render(
        "trainer",
        "tune.html",
        title=title,
        trials=ranked(tried),
        best=ranked(tried)[0],
        counts={state: sum(each.state == state for each in tried) for state in _STATES},
        importance=importance,
        facts=facts,
        command=command,
        measured=measured,
        **shared_content(figures_of_nothing(), Photographs(), ()),  # Neither is shown.
        by_trial=_by_trial(tried),
        by_value=[_by_value(name, finished) for name in searched(finished)],
    )
    files.write_atomically(path, content)


def searched(trials: Sequence[Tried]) -> list[str]:
    """Returns the flags of which trials tried more than one value."""
    names = dict.fromkeys(name for each in trials for name in each.flags)
    return [
        name
        for name in names
        if len({each.flags[name] for each in trials if name in each.flags}) > 1
    ]


def ranked(trials: Sequence[Tried]) -> list[Tried]:
    """Returns trials, the best first; those that were given up stand behind all others."""
    return sorted(trials, key=_rank)


def _rank(trial: Tried) -> tuple[int, float]:
    return _STATES.index(trial.state), math.inf if trial.loss is None else trial.loss


def _by_trial(tried: Sequence[Tried]) -> Markup:
    figure = plots.score_by_trial(
        [each.loss for each in tried], [each.state == "finished" for each in tried]
    )
    return page.svg(figure, "by-trial")


def _by_value(name: str, finished: Sequence[Tried]) -> Markup:
    """A flag's picture, of the trials for which it was drawn."""
    having = [each for each in finished if name in each.flags and each.loss is not None]
    losses = [each.loss for each in having if each.loss is not None]
    figure = plots.score_by_value(name, [each.flags[name] for each in having], losses)
    return page.svg(figure, f"by-{name}")
