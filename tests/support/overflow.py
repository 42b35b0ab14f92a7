"""Lets float16 overflow on one replica after the other, and prints what became of each step.

`python tests/support/overflow.py REPLICAS` prints a line of JSON for each replica; with TF_CONFIG,
each of its workers holds one, and prints its own view.
"""

import json
import os
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.distribute.cluster import find_cluster, without_proxies
from trainer.distribute.strategy import create_strategy
from trainer.model.optimizer import create_optimizer
from trainer.numerics.reproducible_model import ReproducibleModel, reproducible_sums

ROWS = 2  # Of each replica.


def small_model() -> ReproducibleModel:
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(
        8, kernel_initializer=keras.initializers.GlorotUniform(1), dtype="mixed_float16"
    )(inputs)
    initializer = keras.initializers.GlorotUniform(2)
    outputs = keras.layers.Dense(2, "softmax", kernel_initializer=initializer, dtype="float32")
    model = ReproducibleModel(inputs, outputs(hidden))
    config = TrainConfig(data_dir="d", workdir="w", precision="mixed_float16")
    replicas = model.distribute_strategy.num_replicas_in_sync
    model.settle(reproducible_sums(ROWS * replicas, replicas))
    model.compile(
        create_optimizer(config, 0.01), keras.losses.CategoricalCrossentropy(), metrics=["accuracy"]
    )
    model.optimizer.build(model.trainable_variables)
    return model


def step(model: ReproducibleModel, overflowing: int | None) -> dict[str, Any]:
    """Trains on a batch whose rows of one replica are too large; returns what it changed."""
    strategy = model.distribute_strategy
    rows = strategy.num_replicas_in_sync * ROWS
    images = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32)
    if overflowing is not None:
        # Finite in float16, as its outputs are; not so its gradient, whichever label is right.
        images[overflowing * ROWS :][:ROWS] = 3e4
    labels = np.tile(np.eye(2, dtype=np.float32), (rows // 2, 1))

    def worker_batches(worker: tf.distribute.InputContext) -> tf.data.Dataset:
        ds = tf.data.Dataset.from_tensor_slices((images, labels))
        size = rows // worker.num_input_pipelines
        ds = ds.skip(worker.input_pipeline_id * size).take(size)
        return ds.batch(worker.get_per_replica_batch_size(rows))

    before = model.get_weights()
    fitted = model.fit(
        strategy.distribute_datasets_from_function(worker_batches),
        steps_per_epoch=1, epochs=1, verbose=0, shuffle=False,
    )  # fmt: skip
    local = strategy.experimental_local_results
    weights = [[w.numpy() for w in local(v.value)] for v in model.trainable_variables]
    return {
        "changed": any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True)),
        "finite": all(np.isfinite(w).all() for copies in weights for w in copies),
        "alike": all((w == copies[0]).all() for copies in weights for w in copies),
        "scales": [float(s) for s in local(model.optimizer.dynamic_scale.value)],
        "updates": model.updates,
        "loss": fitted.history["loss"][0],
    }


def main() -> None:
    cluster = find_cluster(os.environ)
    if cluster:
        os.environ.update(without_proxies(cluster, os.environ))
    strategy = create_strategy(0, int(sys.argv[1]) if cluster is None else 1, cluster)
    for replica in range(strategy.num_replicas_in_sync):
        with strategy.scope():
            model = small_model()
        steps = [step(model, overflowing) for overflowing in (None, replica, None)]
        print(json.dumps(steps), flush=True)


if __name__ == "__main__":
    main()
