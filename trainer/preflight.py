"""Tries a run before anything is paid for: builds it all, runs a step, writes nothing."""

import dataclasses
import math
import resource
import time
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from cli import machine
from trainer import half_precision, microbatch
from trainer.config import TrainConfig
from trainer.data.records import naming_failures
from trainer.distribute.cluster import Cluster
from trainer.model import memory
from trainer.model.backbone import VGG16, Backbone
from trainer.model.state import nbytes, variables
from trainer.results import evaluation
from trainer.run import Run
from trainer.train import float32_model, prepare, settle, training_batches
from trainer.workdir.mirror import shown


def preflight(
    config: TrainConfig, cluster: Cluster | None = None, backbone: Backbone = VGG16
) -> None:
    """Prints what the run would be and need, once a step went through and a batch was predicted.

    Raises:
        ValueError: if the run could not start, or the disk has no room for its files.
    """
    run = prepare(config, cluster, backbone)
    print("Dry run: nothing is written.", flush=True)
    from_photographs = dataclasses.replace(run, features=None)  # Those are not there yet.
    settle(from_photographs)
    _print_rows(plan_rows(run))
    print("Trying a step, and to predict a batch ...", flush=True)
    with microbatch.naming_one_that_fits(from_photographs), naming_failures(*run.splits):
        _print_rows(try_step(from_photographs))
        if config.precision != "float32":
            _print_rows({"Step": compare_precisions(run)})
    needed = disk_bytes(run)
    _print_rows({f"Disk, {name}": machine.readable(size) for name, size in needed.items()})
    machine.require_disk(run.workdir.root, sum(needed.values()))
    print("Would be written:")
    for path in run.workdir.files():
        print(f"  {shown(path)}{' (stands there)' if path.exists() else ''}")


def plan_rows(run: Run) -> dict[str, str]:
    """The numbers that follow from the flags, the data and the devices."""
    total, trained = run.model.count_params(), _count(run.model.trainable_weights)
    batch = run.config.batch_size
    rows = batch // run.num_replicas
    at_once = min(run.model.microbatch or rows, rows)
    return {
        "Replicas": ", ".join(run.model.distribute_strategy.extended.worker_devices),
        "Global batch": f"{batch} = {run.num_replicas} x {rows}, {at_once} at once",
        "Data": f"{run.train_split.num_examples:,} to train on, "
        f"{run.val_split.num_examples if run.val_split else 0:,} to validate on, "
        f"{len(run.train_split.classes)} classes",
        "Steps": f"{run.steps_per_epoch:,} an epoch, {run.num_steps:,} in {run.config.epochs} "
        f"epochs; starting at step {run.state.step:,}",
        "Parameters": f"{total:,}: {total - trained:,} frozen, {trained:,} train",
        "Memory, estimate": f"{machine.readable(memory.step_bytes(run.model, at_once))} a replica",
    }


def try_step(run: Run) -> dict[str, str]:
    """Runs a step on every replica and predicts a batch; returns their times and memory."""
    start = time.monotonic()
    run.model.fit(training_batches(run), steps_per_epoch=1, verbose=0, shuffle=False)
    stepped = time.monotonic()
    split = run.val_split or run.train_split
    batch_size = run.config.batch_size
    of_views = evaluation.distributed_batches(run.model, run.source, split, batch_size)
    probabilities = evaluation.predict_batches(run.model, of_views, batch_size, batch_size)
    if not np.isfinite(probabilities).all():
        raise ValueError(
            "The model says NaN after one step. Received: "
            f"learning_rate={run.config.learning_rate:g}. Take a lower --learning_rate."
        )
    return {
        "First step": f"{stepped - start:.1f} s, with all that happens once",
        f"Batch of {split.name}": f"{time.monotonic() - stepped:.1f} s, the same",
        "Memory, measured": _measured_memory(),
    }


def compare_precisions(run: Run) -> str:
    """Measures a step as the run would make it, and one in float32; says whether half pays."""
    config, model = run.config, run.model
    if run.features:
        model.settle(model.sums, trained=run.features.rest, uses_xla=config.jit_compile)
    seconds = half_precision.seconds_a_step(model, config.batch_size)
    in_float32 = half_precision.seconds_in_float32(float32_model(run), config.batch_size)
    return half_precision.in_words(config.precision, seconds, in_float32)


def disk_bytes(run: Run) -> dict[str, int]:
    """What the files of a run need at most, {what: bytes}."""
    checkpoint = sum(nbytes(variable) for variable in variables(run.model))
    kept = run.config.keep_checkpoints + 2  # The best one, and the one that is being written.
    features = {"features": run.features.store.nbytes_missing(run.splits)} if run.features else {}
    return {
        f"{kept} checkpoints": kept * checkpoint,
        "model": sum(nbytes(weight) for weight in run.model.weights),
        **features,
    }


def _measured_memory() -> str:
    """The peak so far: of each GPU, or of this process."""
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # It counts in KiB.
        return f"{machine.readable(peak)} at most, the whole process"
    peaks = [tf.config.experimental.get_memory_info(gpu.name)["peak"] for gpu in gpus]
    return f"{', '.join(map(machine.readable, peaks))} at most"


def _count(weights: list[keras.Variable]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _print_rows(rows: Mapping[str, str]) -> None:
    for name, value in rows.items():
        print(f"{name + ':':<22}{value}", flush=True)
