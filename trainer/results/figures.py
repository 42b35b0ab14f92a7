"""The figures of a metrics.json in words. Standard library only."""

from collections.abc import Mapping
from typing import Any


def in_words(figures: Mapping[str, Any]) -> str:
    """Returns one sentence, with what always saying the commonest class would have scored."""
    if not figures["num_examples"]:
        return "No accuracy: the dataset has no split val. Measure it with trainer.evaluate."
    low, high = figures["accuracy_ci95"]
    name, fraction = commonest(figures)
    return (
        f"Accuracy {figures['accuracy']:.1%} on {figures['num_examples']} photographs of "
        f"{figures['split']} (95 % interval {low:.1%} to {high:.1%}; always saying {name}: "
        f"{fraction:.1%}), loss {figures['loss']:.4f}."
    )


def commonest(figures: Mapping[str, Any]) -> tuple[str, float]:
    """Returns the class of the most examples, and its fraction: what guessing it would score."""
    support = {name: row["support"] for name, row in figures["per_class"].items()}
    name = max(support, key=lambda name: support[name])
    return name, support[name] / figures["num_examples"]


def figures_of_nothing() -> dict[str, Any]:
    """Returns the figures of a run that was evaluated on no example: every key, and no number."""
    numbers = (
        "accuracy", "top_5_accuracy", "loss", "accuracy_ci95", "accuracy_bootstrap_ci95",
        "macro_f1", "macro_f1_ci95", "averages", "brier_score", "expected_calibration_error",
        "temperature", "uncalibrated",
    )  # fmt: skip
    return {
        "split": None,
        "num_examples": 0,
        "per_class": {},
        "confusion_matrix": [],
        "reliability": [],
        "reject": [],
        **dict.fromkeys(numbers),
    }
