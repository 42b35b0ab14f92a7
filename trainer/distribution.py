"""The tf.distribute strategy over the GPUs, or over logical CPU devices in place of them."""

import functools
import operator
from collections.abc import Sequence

import tensorflow as tf


def create_strategy(num_gpus: int | None = None, cpu_replicas: int = 1) -> tf.distribute.Strategy:
    """Returns a MirroredStrategy. Call it once in a process, before TensorFlow computes anything.

    Args:
        num_gpus: GPUs to use; None takes every visible one, the CPU where there is none.
        cpu_replicas: Logical CPU devices to use where no GPU is.

    Raises:
        ValueError: if fewer GPUs are visible.
    """
    tf.get_logger().setLevel("WARNING")  # It tells of each collective operation otherwise.
    gpus = tf.config.list_physical_devices("GPU")
    num_gpus = choose_num_gpus(num_gpus, [gpu.name for gpu in gpus])
    if num_gpus:
        for gpu in gpus[:num_gpus]:
            tf.config.experimental.set_memory_growth(gpu, True)  # Leaves room for a neighbour.
        return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(num_gpus)])
    tf.config.set_visible_devices([], "GPU")
    [cpu] = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * cpu_replicas
    tf.config.set_logical_device_configuration(cpu, devices)
    return tf.distribute.MirroredStrategy(
        [f"CPU:{i}" for i in range(cpu_replicas)],
        tf.distribute.ReductionToOneDevice(accumulation_fn=sum_in_pairs),
    )


def is_on_cpu(strategy: tf.distribute.Strategy) -> bool:
    """Whether the replicas are logical CPU devices."""
    return "CPU" in strategy.extended.worker_devices[0]


def keep_order_of_sums() -> None:
    """Stops TensorFlow from turning (a + b) + (c + d) into one sum of four, in another order."""
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


def sum_in_pairs(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Adds a power of two of tensors as (1 + 2) + (3 + 4); others one after the other."""
    tensors = list(tensors)
    while len(tensors) > 1 and len(tensors) % 2 == 0:
        tensors = [a + b for a, b in zip(tensors[::2], tensors[1::2], strict=True)]
    return functools.reduce(operator.add, tensors)


def choose_num_gpus(requested: int | None, visible: Sequence[str]) -> int:
    """The number of GPUs to use, given the names of the visible ones."""
    if requested is None:
        return len(visible)
    if requested > len(visible):
        raise ValueError(
            f"num_gpus is more than are visible. Received: num_gpus={requested}; visible: "
            f"{', '.join(visible) or 'none'}. Use --num_gpus={len(visible)}."
        )
    return requested
