"""A training run, from the dataset to the saved, evaluated model: the story on one page."""

import contextlib
import dataclasses
import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from buckets.failures import BucketError
from tfrecords.manifest import Manifest, read_manifest
from tfrecords.shard_cache import ShardCache
from trainer import divergence, half_precision, microbatch, workarounds
from trainer.config import TrainConfig
from trainer.data.examples import index_together, labels_of
from trainer.data.folds import hold_out
from trainer.data.records import failure_in, naming_failures
from trainer.data.source import PhotographSource
from trainer.data.split import Split, find_split
from trainer.distribute import processor
from trainer.distribute.cluster import Cluster
from trainer.distribute.strategy import create_strategy, is_on_cpu
from trainer.distribute.workers import Workers, naming_lost_workers
from trainer.features import compute
from trainer.features.choose import choose_features
from trainer.head_start import fit_head
from trainer.loop.checkpointing import Checkpointing
from trainer.loop.display import Display
from trainer.loop.early_stopping import EarlyStopping
from trainer.loop.epoch_page import EpochPage
from trainer.loop.history_log import HistoryLog
from trainer.loop.profile import Profile
from trainer.loop.signals import StopSignals
from trainer.loop.timing import StepTimer
from trainer.loop.validation import Validation
from trainer.model import freezing
from trainer.model.backbone import VGG16, Backbone
from trainer.model.classifier import build_model
from trainer.model.division import cut
from trainer.model.head import Head
from trainer.model.layer_rates import layer_rates
from trainer.model.learning_rate import (
    Schedule,
    create_schedule,
    describe_growth,
    describe_scaling,
    rate_of_step,
)
from trainer.model.loss import create_loss
from trainer.model.moving_average import averaged
from trainer.model.optimizer import create_optimizer
from trainer.model.state import variables
from trainer.model.weights import load_weights
from trainer.numerics.reproducible_model import Sums, reproducible_sums
from trainer.outcome import finish, predict_validation
from trainer.results import metrics
from trainer.run import Run, steps_per_epoch
from trainer.run_report import write_report
from trainer.tracking.epochs import TrackEpochs
from trainer.tracking.trackers import Trackers
from trainer.workdir import initial_model, provenance
from trainer.workdir.checkpoints import Checkpoints
from trainer.workdir.files import Workdir
from trainer.workdir.train_state import TrainState


def train(
    config: TrainConfig,
    stop: StopSignals,
    cluster: Cluster | None = None,
    backbone: Backbone = VGG16,
) -> dict[str, Any]:
    """Trains, or goes on with the run in the workdir, and returns the figures of metrics.json.

    Raises:
        ValueError: if the dataset, the devices or the workdir do not fit the config.
        PreemptedError: if a signal stopped the run; a checkpoint is written.
        RuntimeError: if another worker was lost.
    """
    with naming_lost_workers(cluster):
        run = prepare(config, cluster, backbone)
        start = provenance.describe(config, run.model.distribute_strategy, run.state.step)
        if run.workers.is_chief:
            run.workdir.claim(run.identity, start)
        settle(run)
        following = run.trackers.following(run.settings, run.state.history)
        readable = naming_failures(*run.splits)
        with microbatch.naming_one_that_fits(run), stopped_in_time(run, stop), readable, following:
            if run.features:
                with run.phases.measured("frozen layers, once"):
                    fill_features(run)
            if not run.state.step:
                with run.phases.measured("fitting the head"):
                    fit_head(run)
            with run.phases.measured("training"):
                fit(run, stop)
            return finish(run, stop)


@contextlib.contextmanager
def stopped_in_time(run: Run, stop: StopSignals) -> Iterator[None]:
    """Lets a stop not wait for shards that do not come from a bucket.

    Of several workers the others would wait for this one: the end of the grace ends them all.
    """
    if not run.workers.are_several:
        for remote in filter(None, (split.remote for split in run.splits)):
            remote.gives_up = stop.heard.is_set
    try:
        yield
    except BucketError:
        stop.raise_if_requested()
        raise


def prepare(
    config: TrainConfig,
    cluster: Cluster | None = None,
    backbone: Backbone = VGG16,
    strategy: tf.distribute.Strategy | None = None,
) -> Run:
    """Builds all that a run needs, and writes nothing.

    Args:
        strategy: That of a run before in this process, which can have no other; None: there is no
            such run.
    """
    if config.head_init == "logistic":  # What it is fitted to stays, unless it is said.
        backbone = dataclasses.replace(backbone, freeze_layers=None)
    manifest = read_manifest(config.data_dir)
    train_split, val_split, counts = find_splits(config, manifest)
    splits = [train_split, *([val_split] if val_split else [])]
    workarounds.keep_memory()
    strategy = strategy or create_strategy(
        config.num_gpus, config.cpu_replicas, cluster, config.rendezvous_timeout_s
    )
    set_process(config, strategy)
    this_run = initial_model.identify(config, manifest)
    workdir = Workdir(config.workdir)
    workdir.check(this_run)

    checkpoints = Checkpoints(
        workdir.checkpoints, this_run, keep=config.keep_checkpoints, mirror=workdir.mirror
    )
    steps = steps_per_epoch(config, train_split)
    schedule = create_schedule(config, steps)
    with strategy.scope():
        model = create_model(config, schedule, counts, backbone, steps)
        state = checkpoints.restore(model)
        if not state.step and not config.init_from:
            load_weights(model, config.weights, backbone)
    if not state.step and config.init_from:  # Out of the scope: what is loaded is no replica's.
        print(initial_model.start_from(model, config, manifest.classes), flush=True)
    if scaling := describe_scaling(config):
        print(scaling, flush=True)
    say_growth(config, workdir, state, train_split)
    features = choose_features(config, model, manifest, splits, strategy)
    workers = Workers(cluster, strategy)
    folder = features and features.store.folder.name
    workers.check_alike(
        settings={"checkpoint_every": config.checkpoint_every, "features": folder, **this_run},
        state=vars(state),
        weights=lambda: map(keras.ops.convert_to_numpy, variables(model)),
    )
    if cluster:
        train_split = index_together(train_split, workers)
        val_split = val_split and index_together(val_split, workers)
    return Run(
        config=config,
        backbone=backbone,
        identity=this_run,
        workdir=workdir,
        train_split=train_split,
        val_split=val_split,
        model=model,
        schedule=schedule,
        checkpoints=checkpoints,
        state=state,
        workers=workers,
        photographs=PhotographSource.from_config(config),
        features=features,
        trackers=Trackers(config.tracker_names if workers.is_chief else (), workdir.root),
    )


def set_process(config: TrainConfig, strategy: tf.distribute.Strategy) -> None:
    """Checks what a strategy found, and sets what holds for the whole process."""
    config.check_replicas(strategy.num_replicas_in_sync)
    if is_on_cpu(strategy):
        processor.warn_of_slow(config.precision)
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()


def find_splits(
    config: TrainConfig, manifest: Manifest
) -> tuple[Split, Split | None, Mapping[str, int]]:
    """Returns what a run trains on, what it is validated on, and each class's training examples."""
    cache = ShardCache(config.data_cache, config.data_cache_gib)
    if config.held_fold:
        fold, count = config.held_fold
        return hold_out(config.data_dir, manifest, fold, count, config.fold_seed, cache)
    has_val = "val" in manifest.counts
    val_split = find_split(config.data_dir, manifest, "val", cache) if has_val else None
    train_split = find_split(config.data_dir, manifest, "train", cache)
    return train_split, val_split, manifest.counts["train"]


def fill_features(run: Run) -> None:
    """Computes the features that the run trains from and that are not there yet."""
    assert run.features
    compute.fill(
        run.features,
        run.splits,
        model=run.model,
        batch_size=run.config.batch_size,
        workers=run.workers,
    )
    run.workers.wait()  # Each reads the shards of all.


def settle(run: Run) -> None:
    """Tells the model how it trains: its sums, from what, and how many images at once."""
    config, strategy = run.config, run.model.distribute_strategy
    sums = Sums()
    if config.deterministic or is_on_cpu(strategy):  # A GPU's own sums vary otherwise.
        workarounds.keep_order_of_sums()
        sums = reproducible_sums(config.batch_size, run.num_replicas)
    trained = run.features.rest if run.features else None
    run.model.settle(sums, trained=trained, uses_xla=config.jit_compile)
    microbatch.settle(run)


def say_growth(
    config: TrainConfig, workdir: Workdir, state: TrainState, train_split: Split
) -> None:
    """Says what goes on where a run is given more epochs than it had."""
    epochs = workdir.epochs()
    if epochs is None or epochs == config.epochs:
        return
    steps = steps_per_epoch(config, train_split)
    growth = describe_growth(config, epochs, step=state.step, steps_per_epoch=steps)
    if state.stops_early(config.early_stopping_patience):
        growth = "More epochs change nothing: the run has stopped early."
    print(growth, flush=True)


def create_model(
    config: TrainConfig,
    schedule: Schedule | float,
    counts: Mapping[str, int],
    backbone: Backbone,
    steps_per_epoch: int,
) -> keras.Model:
    """Returns the compiled model, its weights random. Call it in a strategy's scope.

    Args:
        counts: {class: number of training examples}, in the order of the labels.
        backbone: The network before the head.
        steps_per_epoch: Batches in an epoch.
    """
    model = build_model(
        len(counts),
        backbone=backbone,
        input_size=config.input_size,
        freeze_layers=config.freeze_layers,
        freeze_until=config.freeze_until,
        unfreezings=config.unfreezings,
        head=Head.from_config(config),
        precision=config.precision,
        fast_convolutions=config.fast_convolutions,
    )
    model.summary()  # Before compile, which would count the optimizer's slots in.
    if kept := freezing.describe_kept(model):
        print(kept, flush=True)
    compile_model(model, config, schedule, counts, steps_per_epoch)
    return model


def compile_model(
    model: keras.Model,
    config: TrainConfig,
    schedule: Schedule | float,
    counts: Mapping[str, int],
    steps_per_epoch: int,
) -> None:
    """Gives a model its optimizer and loss. Call it in a strategy's scope; as `create_model`."""
    rates = layer_rates(model, config, steps_per_epoch)
    model.compile(
        optimizer=create_optimizer(config, schedule, rates),
        loss=create_loss(config, counts),
        metrics=["accuracy"],
        jit_compile=False,  # Of the whole step it fails under tf.distribute; see `settle`.
    )
    model.build_training()


def fit(run: Run, stop: StopSignals) -> None:
    """Trains from the run's state to the last epoch; a checkpoint ends each epoch."""
    config, state = run.config, run.state
    if not config.epochs:
        return
    print(
        f"Global batch {config.batch_size} = {run.num_replicas} replicas x "
        f"{config.batch_size // run.num_replicas}; {run.train_split.num_examples} examples, "
        f"{run.steps_per_epoch} steps an epoch; starting at step {state.step}.",
        flush=True,
    )
    display = Display(
        state,
        epochs=config.epochs,
        steps_per_epoch=run.steps_per_epoch,
        batch_size=config.batch_size,
    )
    checkpointing = Checkpointing(
        run.checkpoints, state, every=config.checkpoint_every, stop=stop, workers=run.workers
    )
    around = create_callbacks(run, display, checkpointing)
    if not is_trained(run):
        print("TensorFlow builds its graph in the first step, for up to a minute ...", flush=True)
    if config.on_nan == "rollback" and not state.step:
        divergence.save(run)
    while not is_trained(run):
        if run.workers.is_chief:
            run.workdir.remove(run.workdir.metrics)  # They stand for a run that is finished.
        try:
            with stop.deferred(), contextlib.closing(display), saved_if_starved(run, checkpointing):
                fit_epochs(run, around)
        except divergence.DivergedError:
            complete_checkpoints(run)
            if config.on_nan == "stop":
                raise divergence.stop(run) from None
            divergence.roll_back(run)
    complete_checkpoints(run)
    with stop.deferred():
        run.timing.remark = remark_on_precision(run)
    print(run.timing.verdict(), flush=True)


@contextlib.contextmanager
def saved_if_starved(run: Run, checkpointing: Checkpointing) -> Iterator[None]:
    """Saves the steps that are done, where a shard that the next ones need cannot be had.

    Of several workers the others are in the midst of a step: nothing can be saved.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if failure_in(error, run.splits) and not run.workers.are_several:
            checkpointing.save_what_is_done()
        raise


def complete_checkpoints(run: Run) -> None:
    """Returns once the chief has written what it saved last, which any worker may read next."""
    run.checkpoints.wait()
    run.workers.wait()


def remark_on_precision(run: Run) -> str:
    """Says where half precision made the steps slower than float32 would; else "".

    Where the input or the host is the bound, and on several workers, nothing is measured.
    """
    config, timing = run.config, run.timing
    if config.precision == "float32" or not timing.images or timing.bound != "compute":
        return ""
    if run.workers.are_several:
        return ""
    try:
        in_float32 = half_precision.seconds_in_float32(float32_model(run), config.batch_size)
    except tf.errors.ResourceExhaustedError:  # In building it: the run itself is trained.
        return ""
    if in_float32 is None:
        return ""
    seconds = timing.compute / timing.images * config.batch_size
    return half_precision.remark_on(config.precision, seconds, in_float32)


def float32_model(run: Run) -> keras.Model:
    """Returns a model that trains as the run's does, but in float32, from random weights."""
    config = dataclasses.replace(run.config, precision="float32")
    counts = dict.fromkeys(run.train_split.classes, 1)
    silence = contextlib.redirect_stdout(io.StringIO())  # It is the same summary again.
    with silence, run.model.distribute_strategy.scope():
        model = create_model(config, run.schedule, counts, run.backbone, run.steps_per_epoch)
    trained = cut(model, before_head=config.cache_maps)[1] if run.features else None
    model.settle(run.model.sums, trained=trained, uses_xla=config.jit_compile)
    model.set_microbatch(run.model.microbatch)
    return model


def fit_epochs(run: Run, around: list[keras.callbacks.Callback]) -> None:
    """Trains the rest of an epoch that was cut off, or all epochs that are left."""
    epoch, done = divmod(run.state.step, run.steps_per_epoch)
    if run.state.awaits_row(run.steps_per_epoch):
        end_epoch(run.model, epoch - 1, around)
        return
    run.model.fit(
        training_batches(run),
        initial_epoch=epoch,
        # An epoch that was cut off has fewer steps left, so it is a fit of its own.
        epochs=epoch + 1 if done else run.config.epochs,
        steps_per_epoch=run.steps_per_epoch - done,
        callbacks=around,
        verbose=0,  # The display is one of the callbacks.
        shuffle=False,  # The stream is.
    )


def end_epoch(model: keras.Model, epoch: int, around: Sequence[keras.callbacks.Callback]) -> None:
    """Does what is left of an epoch that was stopped between its last step and its row."""
    with model.distribute_strategy.scope():
        every = keras.callbacks.CallbackList(around, model=model)
        every.on_train_begin()
        every.on_epoch_begin(epoch)
        every.on_epoch_end(epoch, model.get_metrics_result())
        every.on_train_end()


def is_trained(run: Run) -> bool:
    """Whether every epoch is done, or none more is wanted."""
    return len(run.state.history) == run.config.epochs or run.state.stops_early(
        run.config.early_stopping_patience
    )


def training_batches(run: Run) -> tf.distribute.DistributedDataset:
    """The batches from the run's step on, each worker's rows and each replica's."""
    order, start_step = run.order, run.state.step

    @tf.autograph.experimental.do_not_convert  # There is nothing to convert, which takes time.
    def batches(worker: tf.distribute.InputContext) -> tf.data.Dataset:
        return run.source.training_batches(run.train_split, order, start_step, worker)

    return run.model.distribute_strategy.distribute_datasets_from_function(batches)


def create_callbacks(
    run: Run, display: keras.callbacks.Callback, checkpointing: Checkpointing
) -> list[keras.callbacks.Callback]:
    """What happens around the steps, in this order."""
    validation = []
    if split := run.val_split:
        validate = functools.partial(_validate, run, split, labels_of(split), checkpointing)
        validation = [Validation(validate)]
    workdir = run.workdir if run.workers.is_chief else None
    profiled = run.config.profiled
    return [
        divergence.Divergence(),
        StepTimer(run.timing, run.config.batch_size),
        *validation,
        HistoryLog(
            run.state,
            workdir.history if workdir else None,
            images_per_epoch=run.steps_per_epoch * run.config.batch_size,
            learning_rate=lambda: rate_of_step(run.schedule, max(run.model.updates - 1, 0)),
        ),
        TrackEpochs(run.state, run.trackers),
        EarlyStopping(run.state, run.config.early_stopping_patience),
        *([Profile(run.state, profiled, workdir.tensorboard)] if workdir and profiled else []),
        *(
            [keras.callbacks.TensorBoard(str(workdir.tensorboard), write_graph=False)]
            if workdir
            else []
        ),
        *([EpochPage(functools.partial(write_report, run))] if workdir else []),
        display,
        checkpointing,
    ]


def _validate(
    run: Run, split: Split, labels: np.ndarray, checkpointing: Checkpointing
) -> dict[str, float]:
    with averaged(run.model):
        probabilities = predict_validation(run, split, [checkpointing])
    return {
        "val_loss": metrics.cross_entropy(labels, probabilities),
        "val_accuracy": metrics.top_k_accuracy(labels, probabilities, k=1),
    }
