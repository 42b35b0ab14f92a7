"""Trains the classifier: `python -m trainer.main --data_dir=... --workdir=...`."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from absl import flags

from cli import command, paths
from tfrecords.manifest import Manifest, read_manifest
from trainer import keras_settings
from trainer.checks import check_run
from trainer.config import (
    AUGMENTATIONS,
    CACHE_DTYPES,
    CACHE_FEATURES,
    CLASS_WEIGHTS,
    FAST_CONVOLUTIONS,
    HEADS,
    NUM_VGG_LAYERS,
    ON_NAN,
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULES,
    TrainConfig,
)
from trainer.distribute.cluster import Cluster, find_cluster, without_proxies
from trainer.loop import preemption
from trainer.loop.signals import StopSignals
from trainer.model.backbone import VGG16, Backbone
from trainer.results.figures import in_words
from trainer.workdir import history, identity
from trainer.workdir.files import Workdir, read_json

FLAGS = flags.FLAGS

_DEFAULT = TrainConfig  # Each default stands once, in the dataclass.

paths.define("data_dir", None, "What data_prep.build made.", schemes=paths.BUCKETS, required=True)
paths.define(
    "workdir",
    None,
    "Where the run goes; one that holds this run is resumed.",
    schemes=paths.BUCKETS,
    required=True,
)
flags.DEFINE_integer(
    "num_gpus",
    _DEFAULT.num_gpus,
    "On each worker. Unset: every visible GPU, the CPU where there is none. 0: the CPU.",
    lower_bound=0,
)
flags.DEFINE_integer(
    "cpu_replicas", _DEFAULT.cpu_replicas, "With --num_gpus=0: logical devices.", lower_bound=1
)
flags.DEFINE_integer(
    "rendezvous_timeout_s",
    _DEFAULT.rendezvous_timeout_s,
    "Of several workers: seconds that each waits at the start until all are there.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "batch_size",
    _DEFAULT.batch_size,
    "Global batch: images per step over all replicas.",
    lower_bound=1,
)
flags.DEFINE_string(
    "microbatch_size",
    _DEFAULT.microbatch_size,
    "At most so many images go through the model at once on each replica: the update stays that of "
    "the whole batch, and needs less memory. auto: as many as fit. Unset: a replica's share.",
)
flags.DEFINE_integer(
    "epochs",
    _DEFAULT.epochs,
    "Times through the data. May grow: a run that is finished or was stopped then goes on.",
    lower_bound=1,
)
flags.DEFINE_float("learning_rate", _DEFAULT.learning_rate, "Of the optimizer.")
flags.DEFINE_enum(
    "learning_rate_schedule",
    _DEFAULT.learning_rate_schedule,
    SCHEDULES,
    "How the learning rate goes on after the warm-up; cosine ends at 0 with the last epoch, and if "
    "--epochs grows, goes on as if it had been so long from the start.",
)
flags.DEFINE_float(
    "warmup_epochs", _DEFAULT.warmup_epochs, "The learning rate grows linearly in these first."
)
flags.DEFINE_integer(
    "early_stopping_patience",
    _DEFAULT.early_stopping_patience,
    "Stop after so many epochs without a lower val_loss, and take the best epoch's weights. "
    "Unset: train all epochs, and take the last one's.",
    lower_bound=1,
)
flags.DEFINE_enum("optimizer", _DEFAULT.optimizer, OPTIMIZERS, "SGD has momentum 0.9.")
flags.DEFINE_float(
    "weight_decay",
    _DEFAULT.weight_decay,
    "Share of each weight that a step takes off, times the learning rate. Unset: the optimizer's "
    "own, none for sgd and 0.004 for adamw.",
    lower_bound=0.0,
)
flags.DEFINE_float(
    "label_smoothing",
    _DEFAULT.label_smoothing,
    "Share of each label that is spread over all classes.",
    lower_bound=0.0,
)
flags.DEFINE_enum(
    "class_weights",
    _DEFAULT.class_weights,
    CLASS_WEIGHTS,
    "balanced: every class has the same share of the training loss, however few its photographs.",
)
flags.DEFINE_integer(
    "input_size",
    _DEFAULT.input_size,
    "Pixels of the square that the model sees: a multiple of 32 between 96 and 768.",
)
flags.DEFINE_enum(
    "augment",
    _DEFAULT.augment,
    AUGMENTATIONS,
    "flip: mirrors half of the training photographs, others in each epoch. full: random crops, "
    "flips, colours and RandAugment's operations.",
)
flags.DEFINE_float(
    "mixup", _DEFAULT.mixup, "Alpha, of pairs blended; 0: none are. 0.2 is usual.", lower_bound=0.0
)
flags.DEFINE_float(
    "cutmix",
    _DEFAULT.cutmix,
    "Alpha, of pairs that swap a box; 0: none do. 1 is usual. With --mixup: half of the pairs.",
    lower_bound=0.0,
)
flags.DEFINE_integer(
    "data_ram_mib",
    _DEFAULT.data_ram_mib,
    "MiB for stored examples and waiting batches, on each worker. A training split of more than "
    "half of it is read and shuffled in parts.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "freeze_layers",
    _DEFAULT.freeze_layers,
    "How many of VGG16's layers, its input among them, do not train.",
    lower_bound=0,
    upper_bound=NUM_VGG_LAYERS,
)
flags.DEFINE_enum("head", _DEFAULT.head, HEADS, "How the last feature map becomes a vector.")
paths.define(
    "weights",
    _DEFAULT.weights,
    "imagenet, none (random), or the path of Keras's file.",
    schemes=paths.BUCKETS,
)
flags.DEFINE_enum(
    "cache_features",
    _DEFAULT.cache_features,
    CACHE_FEATURES,
    "Compute the frozen layers once, and train the rest from their output. auto: where it changes "
    "nothing and pays.",
)
paths.define(
    "cache_dir", _DEFAULT.cache_dir, "Where the features go, for several runs. Unset: the workdir."
)
flags.DEFINE_enum(
    "cache_dtype",
    _DEFAULT.cache_dtype,
    CACHE_DTYPES,
    "Rounds the features to this. Unset: they are kept as the frozen layers compute them.",
)
flags.DEFINE_integer(
    "cache_views",
    _DEFAULT.cache_views,
    "With --augment=full: draws so many views of each photograph once, and takes them in turn.",
    lower_bound=1,
)
flags.DEFINE_enum(
    "precision",
    _DEFAULT.precision,
    PRECISIONS,
    "Of the layers' arithmetic; weights, softmax and loss stay float32. bfloat16 is for CPUs and "
    "GPUs that have it, float16 for older GPUs.",
)
flags.DEFINE_bool(
    "jit_compile",
    _DEFAULT.jit_compile,
    "Compile each step's way through the model and back with XLA, for GPUs: on a CPU it is slower. "
    "Changes last bits; not with --deterministic.",
)
flags.DEFINE_enum(
    "fast_convolutions",
    _DEFAULT.fast_convolutions,
    FAST_CONVOLUTIONS,
    "auto: on a CPU, wide float32 convolutions that train are computed by Winograd's algorithm, "
    "which changes their last bits. off: all are TensorFlow's own.",
)
flags.DEFINE_integer("seed", _DEFAULT.seed, "Of initial weights, order and dropout.")
flags.DEFINE_bool("deterministic", _DEFAULT.deterministic, "Equal bits from equal runs; slower.")
flags.DEFINE_enum(
    "on_nan",
    _DEFAULT.on_nan,
    ON_NAN,
    "Where a step gives no number: end the run, or go back to the last checkpoint and pass over "
    "the batch, at most 3 times.",
)
flags.DEFINE_integer(
    "checkpoint_every",
    _DEFAULT.checkpoint_every,
    "Steps between checkpoints; one is also written at each epoch's end.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "keep_checkpoints",
    _DEFAULT.keep_checkpoints,
    "How many of the newest checkpoints to keep; the best epoch's is kept besides.",
    lower_bound=1,
)
flags.DEFINE_string(
    "profile_steps",
    _DEFAULT.profile_steps,
    "FIRST:LAST, as 10:20: steps whose profile goes to WORKDIR/tensorboard; the run's first is 1.",
)
flags.DEFINE_bool(
    "dry_run", _DEFAULT.dry_run, "Build everything, run a step, say what would be; write nothing."
)


def main(arguments: list[str], backbone: Backbone = VGG16) -> None:
    """Trains what the flags ask for and says how good it is."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(TrainConfig)
    with StopSignals() as stop:  # Before TensorFlow's seconds of import, which --help is spared.
        preemption.watch_for_notice()
        cluster = find_cluster(os.environ)
        if cluster:
            os.environ.update(without_proxies(cluster, os.environ))  # TensorFlow reads them once.
        if cluster and not cluster.is_chief:
            # The chief speaks for all.
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
        figures = None if config.dry_run else finished_figures(config)
        if figures is None:
            announce(config, check_run(config, backbone))
            figures = start(config, stop, cluster, backbone)
    if figures is not None:
        print(in_words(figures))
        print(f"Report: {Workdir(config.workdir).report}")


def announce(config: TrainConfig, manifest: Manifest) -> None:
    """Says what is trained on, and why nothing more is said for some seconds."""
    splits = ", ".join(f"{manifest.num_examples(name):,} of {name}" for name in manifest.counts)
    print(f"Dataset {config.data_dir}: {len(manifest.classes)} classes; photographs: {splits}.")
    if "val" not in manifest.counts:
        print("No split val: nothing validates the epochs, and the run ends without an accuracy.")
    print("Loading TensorFlow ...", flush=True)


def start(
    config: TrainConfig, stop: StopSignals, cluster: Cluster | None, backbone: Backbone
) -> dict[str, Any] | None:
    """Trains, and returns the figures of metrics.json; None after a dry run."""
    if config.dry_run:
        keras_settings.import_keras()
        from trainer.preflight import preflight

        preflight(config, cluster, backbone)
        return None
    is_chief = cluster is None or cluster.is_chief
    with Workdir(config.workdir).held() if is_chief else contextlib.nullcontext():
        keras_settings.import_keras()
        from trainer.train import train

        return train(config, stop, cluster, backbone)


def finished_figures(config: TrainConfig) -> dict[str, Any] | None:
    """Returns metrics.json if the workdir holds this very run, with no epoch left to train."""
    workdir = Workdir(config.workdir)
    if not workdir.is_finished():
        return None
    workdir.check(identity.describe(config, read_manifest(config.data_dir)))
    epochs = workdir.epochs()
    if epochs != config.epochs:  # It has grown since.
        rows = history.read(workdir.history)
        if not rows or not history.stops_early(rows, config.early_stopping_patience):
            return None  # Also where the file is damaged: the checkpoint has the rows.
        if len(rows) == epochs:
            return None
        print(f"More epochs change nothing: the run stopped early, after {len(rows)} of {epochs}.")
    print(f"The run in {config.workdir} is finished: there is nothing left to train.")
    return read_json(workdir.metrics)


def run(backbone: Backbone = VGG16) -> None:
    """The console script."""

    def train_one(arguments: list[str]) -> None:
        main(arguments, backbone)

    command.run(train_one)


if __name__ == "__main__":
    run()
