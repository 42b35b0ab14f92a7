"""A training run, from the dataset to the saved, evaluated model: the story on one page."""

import functools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrecords.manifest import read_manifest
from trainer import callbacks, evaluation, input_pipeline, metrics, report, weights
from trainer.checkpoints import Checkpoints, Progress
from trainer.config import TrainConfig
from trainer.distribution import create_strategy, is_on_cpu, keep_order_of_sums
from trainer.evaluation import Split
from trainer.exact_model import parts_per_replica
from trainer.model import build_model, create_optimizer, for_inference
from trainer.signals import StopSignals
from trainer.workdir import Workdir, write_json

_PHOTOGRAPHS_IN_REPORT = 24


def train(config: TrainConfig) -> dict[str, Any]:
    """Trains, or goes on with the run in the workdir, and returns the figures of metrics.json.

    Raises:
        ValueError: if the dataset, the devices or the workdir do not fit the config.
        PreemptedError: if a signal stopped the run; a checkpoint is written.
    """
    with StopSignals() as stop:
        manifest = read_manifest(config.data_dir)
        train_split = evaluation.find_split(config.data_dir, manifest, "train")
        val_split = evaluation.find_split(config.data_dir, manifest, "val")
        strategy = create_strategy(config.num_gpus, config.cpu_replicas)
        config.check_replicas(strategy.num_replicas_in_sync)
        keras.utils.set_random_seed(config.seed)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        workdir = Workdir(config.workdir)
        workdir.check(config, manifest)

        checkpoints = Checkpoints(workdir.checkpoints)
        with strategy.scope():
            model = create_model(config, num_classes=len(manifest.classes))
            if config.deterministic or is_on_cpu(strategy):  # A GPU's own sums vary otherwise.
                keep_order_of_sums()
                model.parts = parts_per_replica(config.batch_size, strategy.num_replicas_in_sync)
            progress = checkpoints.restore(model)
            if not progress.step:
                weights.load_weights(model, config.weights)
        workdir.claim(config, manifest)
        fit(model, config, train_split, val_split, workdir, checkpoints, progress, stop)
        return finish(model, config, val_split, workdir, progress)


def create_model(config: TrainConfig, num_classes: int) -> keras.Model:
    """Returns the compiled model, its weights random. Call it in a strategy's scope."""
    model = build_model(
        num_classes, freeze_layers=config.freeze_layers, head=config.head, seed=config.seed
    )
    model.summary()  # Before compile, which would count the optimizer's slots in.
    model.compile(
        optimizer=create_optimizer(config),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # Fails under tf.distribute.
    )
    model.optimizer.build(model.trainable_variables)  # So that a checkpoint finds its slots.
    return model


def fit(
    model: keras.Model,
    config: TrainConfig,
    train_split: Split,
    val_split: Split,
    workdir: Workdir,
    checkpoints: Checkpoints,
    progress: Progress,
    stop: StopSignals,
) -> None:
    """Trains from the progress to the last epoch; a checkpoint ends each epoch."""
    steps_per_epoch = math.ceil(train_split.num_examples / config.batch_size)
    replicas = model.distribute_strategy.num_replicas_in_sync
    print(
        f"Global batch {config.batch_size} = {replicas} replicas x "
        f"{config.batch_size // replicas}; {train_split.num_examples} examples, "
        f"{steps_per_epoch} steps an epoch; starting at step {progress.step}.",
        flush=True,
    )
    labels = input_pipeline.read_labels(val_split.paths)
    verbose, display = callbacks.progress_display(config.epochs, steps_per_epoch)
    around = [
        callbacks.Validation(
            functools.partial(_validate, model, val_split, labels, config.batch_size)
        ),
        callbacks.HistoryLog(
            progress, workdir.history, images_per_epoch=steps_per_epoch * config.batch_size
        ),
        keras.callbacks.TensorBoard(str(workdir.tensorboard), write_graph=False),
        *display,
        callbacks.Checkpointing(
            checkpoints,
            progress,
            steps_per_epoch=steps_per_epoch,
            every=config.checkpoint_every,
            stop=stop,
        ),
    ]
    while progress.step < config.epochs * steps_per_epoch:
        # An epoch that was cut off has fewer steps left, so it is a fit of its own.
        epoch, done = divmod(progress.step, steps_per_epoch)
        stream = input_pipeline.training_stream(
            train_split.paths,
            num_examples=train_split.num_examples,
            num_classes=len(train_split.classes),
            batch_size=config.batch_size,
            seed=config.seed,
            start_step=progress.step,
        )
        with stop.deferred():
            model.fit(
                stream,
                initial_epoch=epoch,
                epochs=epoch + 1 if done else config.epochs,
                steps_per_epoch=steps_per_epoch - done,
                callbacks=around,
                verbose=verbose,
                shuffle=False,  # The stream is.
            )


def _validate(
    model: keras.Model, split: Split, labels: np.ndarray, batch_size: int
) -> tuple[float, float]:
    probabilities = evaluation.predict_split(model, split, batch_size)
    return (
        metrics.cross_entropy(labels, probabilities),
        metrics.top_k_accuracy(labels, probabilities, k=1),
    )


def finish(
    model: keras.Model, config: TrainConfig, split: Split, workdir: Workdir, progress: Progress
) -> dict[str, Any]:
    """Writes the model, its figures on the validation split, and the report."""
    incomplete = workdir.root / "model.incomplete.keras"
    for_inference(model, config).save(str(incomplete))
    incomplete.replace(workdir.model)
    probabilities = evaluation.predict_split(model, split, config.batch_size)
    figures = evaluation.figures_of(probabilities, split)
    write_json(workdir.metrics, figures)
    callbacks.write_history(workdir.history, progress.history)
    report.write_report(
        workdir.report,
        title_facts=_facts(model, config, split),
        history=progress.history,
        metrics=figures,
        predictions=evaluation.sample_predictions(probabilities, split, _PHOTOGRAPHS_IN_REPORT),
        classes=split.classes,
    )
    return figures


def _facts(model: keras.Model, config: TrainConfig, split: Split) -> dict[str, str]:
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return {
        "Recipe": f"{config.optimizer}, learning rate {config.learning_rate:g}, "
        f"batch {config.batch_size}, {config.epochs} epochs, seed {config.seed}",
        "Starting weights": config.weights,
        "Frozen": f"the first {config.freeze_layers} of VGG16's layers",
        "Parameters": f"{model.count_params():,}, of which {trained:,} train",
        "Evaluated on": f"{split.num_examples} photographs of the split {split.name}",
    }
