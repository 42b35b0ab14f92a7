"""trainer.main, which says besides what it took of the GPU's memory, and how features came.

python -m benchmarks.gpu_training TRAINER_FLAGS

Its last line is JSON: `peak_bytes` of the device's memory, None on a CPU, and
`features_per_second`, None where none were computed, from the first shard of them to the last.
"""

import json
import time
from typing import Any

from trainer import keras_settings

_shards: list[tuple[float, int]] = []
"""When a shard of features was there, and how many are in it."""


def _note_shards() -> None:
    """Has the progress of the features tell when what was done."""
    keras_settings.import_keras()
    from trainer.features import compute

    class Noted(compute.Progress):
        def add(self, count: int) -> None:
            super().add(count)
            _shards.append((time.perf_counter(), count))

    vars(compute)["Progress"] = Noted


def _figures() -> dict[str, Any]:
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] if gpus else None
    rate = None
    if len(_shards) > 1:
        seconds = _shards[-1][0] - _shards[0][0]
        rate = sum(count for _, count in _shards[1:]) / seconds
    return {"peak_bytes": peak, "features_per_second": rate}


def main() -> None:
    """Trains, and says so whatever came of it."""
    import trainer.main

    _note_shards()
    try:
        trainer.main.run()
    finally:
        print(json.dumps(_figures()), flush=True)


if __name__ == "__main__":
    main()
