"""How long the steps wait for a checkpoint that is written beside them, and for one that is not.

python -m benchmarks.checkpoints

The model is VGG16 with the head of the reference recipe, from random weights.
"""

import contextlib
import io
import statistics
import tempfile
import time

from absl import flags

from cli import command
from trainer import keras_settings

FLAGS = flags.FLAGS

flags.DEFINE_integer("turns", 5, "Checkpoints of each kind; the median counts.", lower_bound=1)

_BETWEEN = 1.0  # Seconds, in which steps would go on.


def main(arguments: list[str]) -> None:
    """Prints seconds, and the ratio."""
    command.refuse_arguments(arguments)
    keras_settings.import_keras()
    from trainer.config import TrainConfig
    from trainer.model.backbone import VGG16
    from trainer.model.state import nbytes, variables
    from trainer.train import create_model
    from trainer.workdir.checkpoints import Checkpoints
    from trainer.workdir.train_state import TrainState

    config = TrainConfig(data_dir="no data", workdir="no run")
    counts = dict.fromkeys(map(str, range(8)), 1)
    with contextlib.redirect_stdout(io.StringIO()):
        model = create_model(config, 1e-3, counts, VGG16, steps_per_epoch=1)
    print(f"{sum(map(nbytes, variables(model))) / 1e6:.0f} MB", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(folder, {}, keep=1)
        seconds: dict[str, list[float]] = {"save": [], "begin": []}
        checkpoints.save(model, TrainState())
        for step in range(1, FLAGS.turns + 1):
            for name, waits in seconds.items():
                start = time.perf_counter()
                getattr(checkpoints, name)(model, TrainState(step=step))
                waits.append(time.perf_counter() - start)
                time.sleep(_BETWEEN)
                checkpoints.wait()
    whole, beside = (statistics.median(waits) for waits in seconds.values())
    print(f"written first: {whole:.2f} s; beside the steps: {beside:.2f} s, {beside / whole:.2f}")


if __name__ == "__main__":
    command.run(main)
