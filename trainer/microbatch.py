"""Gradient accumulation: how many images go at once, as many as asked for or as memory holds."""

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from cli import machine
from trainer.distribute.strategy import is_on_cpu
from trainer.model import memory
from trainer.numerics.reproducible_model import ReproducibleModel, in_pieces
from trainer.run import Run

AUTO = "auto"

# Over the estimate, on a CPU: it was seen to take up to 1.4 times that much and half a GB.
_MARGIN = 2.5

# Kernels of TensorFlow's for GPUs count the numbers of a tensor in 32 bits. Beyond that, on an
# H200, 4,096 images passed the trial, and the run ended in an illegal memory access.
_MOST_NUMBERS = 2**31 - 1


def settle(run: Run) -> None:
    """Sets the model to --microbatch_size; auto: to the largest that fits on every replica.

    A run that goes on keeps to what it found before, or less: its sums are then the same.

    Raises:
        RuntimeError: if memory does not hold a single image.
    """
    if run.config.microbatch_size != AUTO:
        run.model.set_microbatch(run.config.microbatch_size and int(run.config.microbatch_size))
        return
    most = run.state.microbatch or _share(run)
    found = run.workers.smallest(largest_fitting(run, most))
    if not found:
        raise RuntimeError(f"Memory does not hold a step on one image. {_received(run, 1)}.")
    run.state.microbatch = found
    run.model.set_microbatch(found)
    print(f"Microbatch: {found} at a time on each replica.", flush=True)


def sizes(share: int, parts: int) -> list[int]:
    """All that a replica's share of the batch may be cut into, the largest first."""
    rows = share // parts
    within_a_part = [rows // n for n in range(1, rows + 1) if rows % n == 0]
    return within_a_part if parts == 1 else [share, *within_a_part]


def largest_fitting(run: Run, most: int) -> int:
    """Tries what is no more than `most`, the largest first; 0 where nothing fits."""
    candidates = sizes(_share(run), run.model.sums.parts)
    return next((n for n in candidates if n <= most and may_fit(run.model, n) and _fits(run, n)), 0)


def may_fit(model: ReproducibleModel, size: int) -> bool:
    """Whether it is safe to try: a host without memory left ends processes, and tells none."""
    strategy = model.distribute_strategy
    if not is_on_cpu(strategy):
        return size * memory.largest_output(model) <= _MOST_NUMBERS
    replicas = len(strategy.extended.worker_devices)  # Of this worker.
    needed = _MARGIN * replicas * memory.step_bytes(model, size)
    return needed <= machine.free_memory()


@contextlib.contextmanager
def naming_one_that_fits(run: Run) -> Iterator[None]:
    """Turns a device's lack of memory into a line that says what to do about it.

    Raises:
        RuntimeError: if memory ran out.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        if "alloc" not in str(error):  # A disk may be what is full.
            raise
        at_once = min(run.model.microbatch or _share(run), _share(run))
        fitting = largest_fitting(run, at_once - 1)
        advice = (
            f"Start it again with --microbatch_size={fitting}, which was tried and fits"
            if fitting
            else "Fewer at once do not fit either: take a smaller model or more memory"
        )
        raise RuntimeError(f"Memory ran out. {_received(run, at_once)}. {advice}.") from error


def _fits(run: Run, size: int) -> bool:
    """Whether every replica of this worker can go through its share in such pieces, and back."""
    model, strategy = run.model, run.model.distribute_strategy
    share = [_share(run)]

    def images_of(shape: tuple[int, ...], dtype: str) -> tf.Tensor:
        of_all = np.zeros([*share, *shape[1:]], tf.as_dtype(dtype).as_numpy_dtype)
        return strategy.experimental_distribute_values_from_function(lambda _: tf.constant(of_all))

    def go_through(images: tf.Tensor, batch: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        gradients, probabilities = model.backward(batch, labels)
        sums = [tf.cast(tf.reduce_sum(t), tf.float32) for t in (*gradients, probabilities)]
        if run.features:  # The frozen layers run before the first step.
            features = in_pieces(run.features.frozen, images, model.sums.parts, size)
            sums.append(tf.cast(tf.reduce_sum(features), tf.float32))
        return tf.add_n(sums)

    @tf.function
    def try_all(*arguments: tf.Tensor) -> tf.Tensor:
        return strategy.run(go_through, args=arguments)

    try:
        with model.trying_microbatch(size):
            try_all(
                images_of(model.input_shape, "uint8"),
                images_of(model.trained.input_shape, model.trained.input.dtype),
                images_of(model.output_shape, "float32"),
            )
    except tf.errors.ResourceExhaustedError:
        return False
    return True


def _share(run: Run) -> int:
    return run.config.batch_size // run.num_replicas


def _received(run: Run, at_once: int) -> str:
    return (
        f"Received: batch_size={run.config.batch_size}, num_replicas={run.num_replicas}, "
        f"{at_once} images at once on each"
    )
