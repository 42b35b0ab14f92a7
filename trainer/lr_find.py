"""The learning rate range test: tries growing rates, draws the loss, and suggests one.

As in Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017: one short training
from the initial weights, whose learning rate grows exponentially from step to step.
"""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from cli.progress import Progress
from tfrecords import files
from trainer import microbatch
from trainer.config import TrainConfig
from trainer.data.records import naming_failures
from trainer.distribute.cluster import Cluster
from trainer.distribute.workers import Workers, naming_lost_workers
from trainer.head_start import fit_head
from trainer.loop.signals import StopSignals
from trainer.loop.timing import StepTimer
from trainer.model.backbone import VGG16, Backbone
from trainer.model.learning_rate import scaled_rate
from trainer.results.plots import range_test_curve
from trainer.run import Run
from trainer.train import fill_features, prepare, settle, training_batches
from trainer.workdir.mirror import shown

LOWEST, HIGHEST, STEPS = 1e-7, 1.0, 100
_NEIGHBOURS = 4  # Steps on either side that a smoothed loss is the mean of.
_NOTABLE = 2.0  # Times the losses' own variation: what a fall must be.
_EXPLODED = 4.0  # Times the lowest loss; from there on nothing is to be learned.


def find(
    config: TrainConfig,
    stop: StopSignals,
    cluster: Cluster | None = None,
    backbone: Backbone = VGG16,
) -> None:
    """Runs the test, writes its table and its picture to the workdir, and prints what it suggests.

    The features that a run would compute first are computed, and wait for that run; of it nothing
    else is begun.

    Raises:
        ValueError: if the dataset or the devices do not fit the config.
        PreemptedError: if a signal stopped it.
        RuntimeError: if another worker was lost.
    """
    with naming_lost_workers(cluster):
        run = prepare(config, cluster, backbone)
        settle(run)
        with microbatch.naming_one_that_fits(run), naming_failures(*run.splits):
            if run.features:
                fill_features(run)
            fit_head(run)
            losses = try_rates(run, stop)
    rates = rates_of(len(losses))
    smoothed = smooth(losses)
    suggestion = suggest(rates, losses, smoothed)
    if run.workers.is_chief:
        write(run, rates, losses, smoothed, suggestion)
    print(in_words(config, rates, smoothed, suggestion))
    print(f"Picture: {shown(run.workdir.range_test_picture)}")


def try_rates(run: Run, stop: StopSignals) -> list[float]:
    """Trains so many steps, or until the loss explodes; returns the loss of each."""
    run.model.optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(
        LOWEST, decay_steps=STEPS - 1, decay_rate=HIGHEST / LOWEST
    )
    print(f"Range test: {STEPS} steps, rates from {LOWEST:g} to {HIGHEST:g} ...", flush=True)
    with stop.deferred(), Progress(STEPS, "steps") as progress:
        test = RangeTest(stop, run.workers, progress)
        run.model.fit(
            training_batches(run),
            steps_per_epoch=STEPS,
            # The timer takes each batch by itself, of a known size, as every run's steps do: among
            # several workers Keras's own step does not know it.
            callbacks=[StepTimer(run.timing, run.config.batch_size), test],
            verbose=0,
            shuffle=False,
        )
    return test.losses


class RangeTest(keras.callbacks.Callback):
    """Keeps the loss of each step, and ends the fit where it explodes, or at a signal.

    Attributes:
        losses: Of each batch, before the step's update.
    """

    def __init__(self, stop: StopSignals, workers: Workers, progress: Progress) -> None:
        super().__init__()
        self.losses: list[float] = []
        self._stop = stop
        self._workers = workers
        self._progress = progress

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Makes the loss that comes this batch's alone."""
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Looks at the loss."""
        self._progress.add(1)
        stops = self._workers.any(self._stop.requested)
        if stops or has_exploded([*self.losses, logs["loss"]]):
            self.model.stop_training = True
        else:
            self.losses.append(float(logs["loss"]))


def has_exploded(losses: Sequence[float]) -> bool:
    """Whether the last loss is no number, or the last few are far above the lowest few."""
    if not math.isfinite(losses[-1]):
        return True
    width = _NEIGHBOURS + 1
    means = np.convolve(losses, np.full(width, 1 / width), "valid")
    return bool(len(losses) > width and means[-1] > _EXPLODED * means.min())


def rates_of(count: int) -> np.ndarray:
    """The learning rates of the first steps, float64 [count]."""
    return LOWEST * (HIGHEST / LOWEST) ** (np.arange(count) / (STEPS - 1))


def smooth(losses: Sequence[float]) -> np.ndarray:
    """Returns the mean of each loss and its neighbours, float64 [n]; it does not lag behind."""
    around = [losses[max(i - _NEIGHBOURS, 0) : i + _NEIGHBOURS + 1] for i in range(len(losses))]
    return np.array([np.mean(few) for few in around])


def suggest(rates: np.ndarray, losses: Sequence[float], smoothed: np.ndarray) -> float | None:
    """Returns the rate at which the loss falls fastest, by decades of the rate.

    Only what lies before the lowest loss counts, and has all its neighbours. None: it falls by
    little more than it varies from step to step.
    """
    end = int(smoothed.argmin()) + 1 if len(smoothed) else 0
    if end <= 2 * _NEIGHBOURS:
        return None
    noise = np.std(losses[:end] - smoothed[:end])
    if smoothed[_NEIGHBOURS] - smoothed.min() < _NOTABLE * noise:
        return None
    slopes = np.gradient(smoothed[:end], np.log10(rates[:end]))
    return float(rates[_NEIGHBOURS + slopes[_NEIGHBOURS:].argmin()])


def in_words(
    config: TrainConfig, rates: np.ndarray, smoothed: np.ndarray, suggestion: float | None
) -> str:
    """What the test says, for a person."""
    if suggestion is None:
        return (
            "No suggestion: at no rate does the loss fall. Look at the picture; another "
            "--optimizer, weights or data may be what is needed."
        )
    given = suggestion * config.learning_rate / scaled_rate(config)  # It is scaled again.
    return (
        f"Suggested: --learning_rate={given:.2g}, where the smoothed loss falls fastest per decade "
        f"of the rate. It is lowest, {smoothed.min():.3g}, at "
        f"{rates[int(smoothed.argmin())]:.2g}: too high to stay at. "
        f"{len(rates)} of {STEPS} steps were taken."
    )


def write(
    run: Run,
    rates: np.ndarray,
    losses: Sequence[float],
    smoothed: np.ndarray,
    suggestion: float | None,
) -> None:
    """Writes the table and the picture."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["step", "learning_rate", "loss", "smoothed_loss"])
    rows = zip(rates, losses, smoothed, strict=True)
    table.writerows([step, *map(float, row)] for step, row in enumerate(rows, start=1))
    files.write_atomically(run.workdir.range_test_table, out.getvalue())
    figure = range_test_curve(rates, losses, smoothed, suggestion)
    with files.atomic_writer(run.workdir.range_test_picture) as file:
        figure.savefig(file, format="png", dpi=110)
