"""What makes a run this one and no other: its recipe and its data. A workdir holds one run."""

import json
from collections.abc import Mapping
from typing import Any

from tfrecords.manifest import Manifest
from trainer.config import TrainConfig, with_defaults


def describe(
    config: TrainConfig, manifest: Manifest, initial: str | None = None
) -> dict[str, dict[str, Any]]:
    """Returns the identity of a run, as JSON has it; the same on any machine and commit.

    Args:
        initial: The digest of the model that --init_from names, wherever it lies.
    """
    assert (initial is None) == (config.init_from is None)
    identity = {
        "recipe": config.settings() | {"init_from": initial},
        "data": {
            "digest": manifest.digest,
            "classes": manifest.classes,
            "image_size": manifest.options["image_size"],
        },
    }
    return json.loads(json.dumps(identity))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns a phrase for each setting in which two identities differ; none: the same run.

    A run of more epochs is the same run, going on.
    """
    there = {"recipe": with_defaults(before.get("recipe", {})), "data": before.get("data", {})}
    return [
        f"{name}: {there[part].get(name)} there, {value} here"
        f"{' (it may only grow)' if name == 'epochs' else ''}"
        for part in there
        for name, value in now[part].items()
        if there[part].get(name) != value
        and not (name == "epochs" and there[part].get(name) < value)
    ]
