"""The figures of a metrics.json in words. Standard library only."""

from collections.abc import Mapping
from typing import Any


def in_words(figures: Mapping[str, Any]) -> str:
    """Returns one sentence, with what always saying the commonest class would have scored."""
    low, high = figures["accuracy_ci95"]
    name, share = commonest(figures)
    return (
        f"Accuracy {figures['accuracy']:.1%} on {figures['num_examples']} photographs of "
        f"{figures['split']} (95 % interval {low:.1%} to {high:.1%}; always saying {name}: "
        f"{share:.1%}), loss {figures['loss']:.4f}."
    )


def commonest(figures: Mapping[str, Any]) -> tuple[str, float]:
    """Returns the class that has the most examples, and its share: what guessing it would score."""
    support = {name: row["support"] for name, row in figures["per_class"].items()}
    name = max(support, key=lambda name: support[name])
    return name, support[name] / figures["num_examples"]
