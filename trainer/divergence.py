"""A step that gives no number: the run stops at it, or goes back and skips its batch."""

import math
from typing import Any

import keras

from trainer.run import Run
from trainer.workdir import mirror
from trainer.workdir.files import read_json, write_json

MAX_SKIPPED = 3  # Batches: more than that are no accident of the data.
_SHOWN = 8  # Photographs in a line.


class DivergedError(RuntimeError):
    """The loss or a gradient of a step is NaN or infinite."""


class Divergence(keras.callbacks.Callback):
    """Raises DivergedError at such a step. Comes before whatever saves or counts it.

    The loss that a step reports is the mean of its epoch so far: one NaN stays in it.
    """

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Looks at the loss, into which the model puts NaN where a gradient has one."""
        if not math.isfinite(logs["loss"]):
            raise DivergedError


def describe(run: Run) -> str:
    """What happened, for a person: the step, and the photographs that it was made on.

    The chief also appends all of them to the workdir's diverged.json.
    """
    batch = run.order.batch_of_step(run.state.step)
    examples = run.order.examples_in_batch(run.train_split, batch)
    path = run.workdir.diverged
    if run.workers.is_chief:
        known = read_json(path) if path.exists() else []
        record = {"step": run.state.step + 1, "batch": batch, "examples": examples}
        write_json(path, [*known, record])
    shown = ", ".join(f"{example['name']} ({example['id']})" for example in examples[:_SHOWN])
    more = f" and {len(examples) - _SHOWN} more" if len(examples) > _SHOWN else ""
    return (
        f"The loss or a gradient of step {run.state.step + 1} is not a number. Received: batch "
        f"{batch}, of {shown}{more}, all in {mirror.shown(path)}"
    )


def stop(run: Run) -> DivergedError:
    """Returns the error that ends the run; the last checkpoint is from before the step."""
    kept = run.checkpoints.newest_step()
    checkpoint = (
        "No checkpoint was due yet" if kept is None else f"The checkpoint of step {kept} is kept"
    )
    return DivergedError(
        f"{describe(run)}. {checkpoint}. Take a lower --learning_rate, or pass over such batches "
        f"with --on_nan=rollback; {len(run.state.skipped_batches)} are already."
    )


def roll_back(run: Run) -> None:
    """Sets the run to its last checkpoint, with the batch among the skipped batches from there on.

    Raises:
        DivergedError: if MAX_SKIPPED batches are skipped already.
    """
    if len(run.state.skipped_batches) == MAX_SKIPPED:
        raise stop(run)
    print(f"{describe(run)}. Going back to the last checkpoint, without that batch.", flush=True)
    skipped = [*run.state.skipped_batches, run.order.batch_of_step(run.state.step)]
    restored = run.checkpoints.restore(run.model)
    vars(run.state).update(vars(restored) | {"skipped_batches": skipped})
    save(run)


def save(run: Run) -> None:
    """Writes a checkpoint with the skipped batches; at step 0 too, to have one to go back to."""
    run.workers.wait()  # Each has read what is written over next.
    if run.workers.is_chief:
        run.checkpoints.save(run.model, run.state)
    run.workers.wait()
