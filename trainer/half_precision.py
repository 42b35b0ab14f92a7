"""Whether half precision pays: its step beside one in float32, each on a batch that lies ready."""

import time

import tensorflow as tf

from trainer import microbatch
from trainer.data.source import worker_options
from trainer.numerics.reproducible_model import ReproducibleModel

_NOTABLE = 1.1  # Times as long: less may be the machine's mood.
_SECONDS, _MOST_STEPS = 1.0, 50  # A measurement takes so long, and one step at least.


def seconds_a_step(model: ReproducibleModel, batch_size: int) -> float:
    """Measures a step without its input, once graphs are built. The model's weights change.

    Args:
        model: Compiled and settled.
        batch_size: The global one.
    """
    shape, dtype = model.trained.input_shape[1:], model.trained.input.dtype
    dtype = "uint8" if model.trained is model else dtype  # Photographs come as bytes.

    def batches(worker: tf.distribute.InputContext) -> tf.data.Dataset:
        rows = worker.get_per_replica_batch_size(batch_size)
        labels = tf.one_hot(tf.zeros([rows], tf.int32), model.output_shape[-1])
        ds = tf.data.Dataset.from_tensors((tf.zeros([rows, *shape], dtype), labels)).repeat()
        return ds.with_options(worker_options())

    distributed = model.distribute_strategy.distribute_datasets_from_function(batches)

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        model.fit(distributed, steps_per_epoch=steps, verbose=0, shuffle=False)
        return (time.perf_counter() - start) / steps

    seconds(1)
    one = seconds(1)
    more = min(int(_SECONDS / one), _MOST_STEPS)
    return min(one, seconds(more)) if more > 1 else one


def seconds_in_float32(model: ReproducibleModel, batch_size: int) -> float | None:
    """Measures a float32 model's step as `seconds_a_step`; None where memory does not hold it."""
    rows = batch_size // model.distribute_strategy.num_replicas_in_sync
    if not microbatch.may_fit(model, min(model.microbatch or rows, rows)):
        return None
    try:
        return seconds_a_step(model, batch_size)
    except tf.errors.ResourceExhaustedError:
        return None


def in_words(precision: str, seconds: float, in_float32: float | None) -> str:
    """What to say of the two steps, on one line."""
    if in_float32 is None:
        return f"{precision} {seconds:.3g} s; memory does not hold a step in float32"
    ratio = seconds / in_float32
    remark = remark_on(precision, seconds, in_float32) or (
        f"{1 / ratio:.2f} times as fast" if ratio < 1 / _NOTABLE else "no difference to speak of"
    )
    return f"{precision} {seconds:.3g} s, float32 {in_float32:.3g} s: {remark}"


def remark_on(precision: str, seconds: float, in_float32: float) -> str:
    """Says where half precision takes longer; "" where it does not."""
    ratio = seconds / in_float32
    if ratio < _NOTABLE:
        return ""
    return (
        f"--precision={precision} does not pay here, its step takes {ratio:.2f} times as long as "
        "float32's"
    )
