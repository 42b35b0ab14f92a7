"""What reaches into TensorFlow's and Keras's insides, or acts on the whole process, in the trainer.

Each says what goes wrong without it and where it was last seen to. Where a name is gone, a line
says so once and the run goes on without. `cli.startup` holds TensorFlow's first lines back,
`trainer.keras_settings` a user's settings of Keras; `KerasMultiWorkerStrategy` overrides a public
method (keras-team/keras#20585).
"""

import contextlib
import ctypes
import functools
import os
import platform
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # Of glibc's malloc.h.
_GLIBC_VARIABLES = (
    "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES",
)  # fmt: skip


@functools.cache
def _say_gone(name: str, consequence: str) -> None:
    """Warns, once in a process, that a name is gone which something here relies on."""
    logging.warning("%s is not there any more: %s.", name, consequence)


def use_onednn() -> None:
    """Has TensorFlow compute with oneDNN on every x86 processor. Before it is imported.

    Without: on older ones it takes Eigen, which is slower, and a photograph's numbers depend on its
    position in the batch. Last seen in TensorFlow 2.21.0. Switch: TF_ENABLE_ONEDNN_OPTS=0.
    """
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def keep_memory() -> None:
    """Has glibc keep the host memory that a step frees, where TensorFlow has it given back.

    Without: the system clears each page that it hands out again, as the next step needs as much.
    Call it once TensorFlow is imported, and before its devices are made: then it has no effect any
    more. Last seen in TensorFlow 2.21.0. Without glibc, nothing changes. Switch: glibc's own
    variables, such as MALLOC_TRIM_THRESHOLD_, are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt and not any(name in os.environ for name in _GLIBC_VARIABLES):
        for option, size in (
            (_MMAP_THRESHOLD, 2**31 - 1),  # Bytes; an int is what it takes.
            (_TRIM_THRESHOLD, 2**31 - 1),
            (_TOP_PAD, 2**28),
        ):
            mallopt(option, size)


def end_iterators_at_once() -> None:
    """Keeps the end of a distributed dataset's iterator from taking up to a minute.

    Without: its buffer on each device has a thread that tunes it now and then, more and more
    rarely. At the end that is woken before the flag is set that it looks at (`Model::OptimizeLoop`
    of TensorFlow 2.21.0), so that it may sleep on, and all wait for it. A user's dataset can be
    told not to tune itself; these are made where no option reaches.
    """
    from tensorflow.python.data.ops import multi_device_iterator_ops

    name = "_create_device_dataset"
    create = getattr(multi_device_iterator_ops, name, None)
    if create is None:
        _say_gone(f"TensorFlow's {name}", "the end of an epoch may take up to a minute")
    elif not hasattr(create, "__wrapped__"):
        setattr(multi_device_iterator_ops, name, _untuned(create))


def _untuned(create: Any) -> Any:
    import tensorflow as tf

    @functools.wraps(create)
    def create_untuned(*args: Any) -> tf.data.Dataset:
        options = tf.data.Options()
        options.autotune.enabled = False
        return create(*args).with_options(options)

    return create_untuned


def keep_order_of_sums() -> None:
    """Stops TensorFlow from turning (a + b) + (c + d) into one sum of four, in another order.

    Without: the same update has other last bits on another number of replicas. Last seen in
    TensorFlow 2.21.0, of whose graph optimizer it is an experimental option.
    """
    import tensorflow as tf

    option = "arithmetic_optimization"
    tf.config.optimizer.set_experimental_options({option: False})
    if tf.config.optimizer.get_experimental_options().get(option) is not False:
        _say_gone(
            f"TensorFlow's option {option}",
            "last bits may depend on the number of replicas",
        )


def quieten_collectives() -> None:
    """Without: TensorFlow 2.21.0 tells of each collective operation, for every step it traces."""
    import tensorflow as tf

    tf.get_logger().setLevel("WARNING")


def hear_sigterm_again() -> None:
    """Gives SIGTERM back to Python's handler, which TensorFlow's server has taken it from.

    Without: a worker that is told to stop does not hear it, as TensorFlow 2.21.0 keeps the signal
    for a use that is not made of it here.
    """
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


@contextlib.contextmanager
def keras_home(folder: Path) -> Iterator[None]:
    """Has Keras's networks look for their weights in a folder, and keep there what they download.

    Without: it is the folder that `trainer.keras_settings` had Keras see as it was imported, in
    which nothing is. Keras has no way to tell it another later. Last seen in Keras 3.15.1.
    """
    from keras.src.backend import config

    name = "_KERAS_DIR"
    if not hasattr(config, name):
        _say_gone(f"Keras's {name}", "ImageNet's weights may be found by --weights=PATH alone")
    before = getattr(config, name, None)
    setattr(config, name, str(folder))
    try:
        yield
    finally:
        setattr(config, name, before)


def build_training(model: Any) -> None:
    """Builds loss, metrics and optimizer, which `fit` would do from the first batch it sees.

    Without: that batch may be one of features, which are no input of the model; and a checkpoint is
    restored before it. Last seen in Keras 3.15.1. Where its way to do so is gone, the optimizer is
    built here and `fit` does the rest.
    """
    build = getattr(model, "_symbolic_build", None)
    if build is None:
        _say_gone("Keras's _symbolic_build", "a run that trains from features may not start")
        model.optimizer.build(model.trainable_variables)
        return
    build(data_batch=(model.input, model.output))


def freeze_variables(function: Any) -> Any:
    """Returns a concrete function with its variables' values as constants.

    Without: LiteRT's converter leaves a Keras 3 model's variables in its file without their values,
    and NaN comes out. TensorFlow has no public name for it. Last seen in TensorFlow 2.21.0.
    """
    from tensorflow.python.framework import convert_to_constants

    return convert_to_constants.convert_variables_to_constants_v2(function)
