"""The report of a run: one self-contained page for a person to read."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from cli import page
from tfrecords import files
from trainer.results import figures, plots
from trainer.results.label_issues import LabelIssue
from trainer.results.predictions import Prediction
from trainer.results.selection import Selection

_BARS = 3


class Title(NamedTuple):
    """Which run a page is of: a print-out is still known by it.

    Attributes:
        run: Name of its workdir.
        dataset: Name and digest of its data.
        date: When it was finished.
        command: What was typed.
    """

    run: str
    dataset: str
    date: str
    command: str


class Photographs(NamedTuple):
    """The photographs that a page shows.

    Attributes:
        mistakes: Taken for another class, the surest first.
        unsure: Right, the least sure first.
        others: Right too.
        doubted: Those whose label looks wrong, and the class that the model finds.
    """

    mistakes: Sequence[Prediction] = ()
    unsure: Sequence[Prediction] = ()
    others: Sequence[Prediction] = ()
    doubted: Sequence[tuple[Prediction, int]] = ()

    @classmethod
    def of(cls, selection: Selection, predictions: Mapping[int, Prediction]) -> "Photographs":
        """Those of a selection, given the predictions by the examples' numbers."""

        def of_numbers(numbers: Sequence[int]) -> list[Prediction]:
            return [predictions[number] for number in numbers]

        def of_issue(issue: LabelIssue) -> tuple[Prediction, int]:
            return predictions[issue.number], issue.suggested

        return cls(
            of_numbers(selection.mistakes),
            of_numbers(selection.unsure),
            of_numbers(selection.others),
            [of_issue(issue) for issue in selection.doubted],
        )


def write_report(
    path: str | os.PathLike[str],
    *,
    title: Title,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    metrics: Mapping[str, Any],
    photographs: Photographs,
    classes: Sequence[str],
    phases: Mapping[str, float],
    details: Mapping[str, Mapping[str, Any]],
    is_running: bool = False,
) -> None:
    """Writes the page.

    Args:
        path: The HTML file to write.
        title: Which run the page is of.
        facts: What to say of the run, {name: value}.
        history: The rows of history.csv.
        metrics: The content of metrics.json.
        photographs: Of those whose true class is known.
        classes: Names, in the order of the probabilities.
        phases: Where the time went, {phase: seconds}.
        details: Settings, versions and digests, {group: {name: value}}.
        is_running: Whether the training is not yet at its end.
    """
    content = page.render(
        "trainer",
        "report.html",
        title=title,
        facts=facts,
        baseline=figures.commonest(metrics) if metrics["num_examples"] else None,
        curves=[_curve(history, name) for name in ("loss", "accuracy") if history],
        phases=_shares(phases),
        details=details,
        is_running=is_running,
        **shared_content(metrics, photographs, classes),
    )
    files.write_atomically(path, content)


def shared_content(
    metrics: Mapping[str, Any], photographs: Photographs, classes: Sequence[str]
) -> dict[str, Any]:
    """Returns what every page shows of figures and photographs, by the template's names."""
    right = sum(row[place] for place, row in enumerate(metrics["confusion_matrix"]))
    return {
        "metrics": metrics,
        "classes": classes,
        "num_wrong": metrics["num_examples"] - right,
        "diagram": _diagram(metrics),
        "photographs": {
            "mistakes": [photograph(each, classes) for each in photographs.mistakes],
            "unsure": [photograph(each, classes) for each in photographs.unsure],
            "others": [photograph(each, classes) for each in photographs.others],
            "doubted": [
                {**photograph(each, classes), "suggested": classes[suggested]}
                for each, suggested in photographs.doubted
            ],
        },
    }


def photograph(prediction: Prediction, classes: Sequence[str]) -> dict[str, Any]:
    """Returns what a page's template shows of a prediction."""
    return {
        "name": plots.shorten(Path(prediction.name).name),
        "image": page.thumbnail(prediction.image),
        "heat": None if prediction.heat is None else page.thumbnail(prediction.heat),
        "bars": [(classes[label], p) for label, p in prediction.top(_BARS)],
        "truth": None if prediction.label is None else classes[prediction.label],
        "taken_for": classes[prediction.predicted] if prediction.is_wrong else None,
    }


def _curve(history: Sequence[Mapping[str, float]], name: str) -> Markup:
    return page.svg(plots.learning_curve(history, name), name)


def _diagram(metrics: Mapping[str, Any]) -> Markup | None:
    """The reliability diagram; None where nothing was judged."""
    if not metrics.get("reliability"):
        return None
    before = metrics.get("uncalibrated") or {}
    figure = plots.reliability_diagram(metrics["reliability"], before.get("reliability", []))
    return page.svg(figure, "reliability")


def _shares(phases: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """Each phase with its seconds and its share of all, the longest first."""
    total = sum(phases.values())
    longest = sorted(phases.items(), key=lambda phase: -phase[1])
    return [(name, seconds, seconds / total) for name, seconds in longest if total]
