"""The tf.distribute strategy: over the GPUs or CPU devices of a machine, or over many workers."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from cli import machine, startup
from trainer import workarounds
from trainer.config import TrainConfig
from trainer.distribute import rendezvous
from trainer.distribute.cluster import Cluster
from trainer.numerics.summation import sum_in_pairs


def create_strategy(
    num_gpus: int | None = None,
    cpu_replicas: int = 1,
    cluster: Cluster | None = None,
    rendezvous_timeout_s: int = TrainConfig.rendezvous_timeout_s,
) -> tf.distribute.Strategy:
    """Returns the strategy. Call it once in a process, before TensorFlow computes anything.

    Args:
        num_gpus: GPUs to use on each worker; None takes every visible one, the CPU where there is
            none.
        cpu_replicas: Logical CPU devices to use where no GPU is.
        cluster: The workers, if there are several. Waits until all of them are there.
        rendezvous_timeout_s: Seconds to wait for them.

    Raises:
        ValueError: if fewer GPUs are visible, or a worker shall have several CPU devices.
        RuntimeError: if workers are missing, or another program has this one's port.
    """
    if cluster and cpu_replicas > 1:
        raise ValueError(
            "Each of several workers has one CPU device. "
            f"Received: cpu_replicas={cpu_replicas}. Start more workers instead."
        )
    _keep_to_cores(machine.cores())
    workarounds.end_iterators_at_once()
    workarounds.quieten_collectives()
    with startup.quiet():
        gpus = tf.config.list_physical_devices("GPU")
    if num_gpus is None:
        startup.warn_of_unused_gpu(len(gpus))
    gpus = cluster.own_gpus(gpus) if cluster else gpus
    num_gpus = choose_num_gpus(num_gpus, [gpu.name for gpu in gpus])
    tf.config.set_visible_devices(gpus[:num_gpus], "GPU")
    for gpu in gpus[:num_gpus]:
        tf.config.experimental.set_memory_growth(gpu, True)  # Leaves room for a neighbour.
    if cluster:
        return _create_multi_worker_strategy(cluster, num_gpus, rendezvous_timeout_s)
    if num_gpus:
        return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(num_gpus)])
    [cpu] = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * cpu_replicas
    tf.config.set_logical_device_configuration(cpu, devices)
    return tf.distribute.MirroredStrategy(
        [f"CPU:{i}" for i in range(cpu_replicas)],
        tf.distribute.ReductionToOneDevice(accumulation_fn=sum_in_pairs),
    )


def _keep_to_cores(available: int) -> None:
    """Limits the threads to the cores, where a container has the time of fewer than it may run on.

    TensorFlow's own default is right otherwise. With more threads than that, a container uses its
    time up at once, and all wait for the next period.
    """
    if available < machine.allowed_cores():
        tf.config.threading.set_intra_op_parallelism_threads(available)
        tf.config.threading.set_inter_op_parallelism_threads(available)


def _create_multi_worker_strategy(
    cluster: Cluster, num_gpus: int, rendezvous_timeout_s: int
) -> tf.distribute.Strategy:
    cluster.check_port()
    print(
        f"Worker {cluster.rank} of {len(cluster.addresses)} ({cluster.launcher}) waits for all at "
        f"{cluster.addresses[0]}.",
        flush=True,
    )
    rendezvous.meet(cluster, rendezvous_timeout_s)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.rank,
        rpc_layer="grpc",
        num_accelerators={"GPU": num_gpus},
    )
    strategy = KerasMultiWorkerStrategy(resolver)
    workarounds.hear_sigterm_again()
    return strategy


class KerasMultiWorkerStrategy(tf.distribute.MultiWorkerMirroredStrategy):
    """The strategy as Keras's `fit` can use it (keras-team/keras#20585).

    Without: `fit` fails at its first batch, and at its logs. Last seen in Keras 3.15.1.
    """

    def reduce(self, reduce_op: Any, value: Any, axis: int | None = None) -> Any:
        """Like the base class, but for the two calls of Keras that it refuses."""
        mean = str(getattr(reduce_op, "value", reduce_op)).upper() == "MEAN"
        if mean and axis is None and tf.nest.is_nested(value):  # A batch, for its shapes alone.
            return tf.nest.map_structure(self._first_local, value)
        if mean and axis == 0 and self._first_local(value).shape.rank == 0:  # Logs.
            axis = None
        return super().reduce(reduce_op, value, axis)

    def _first_local(self, value: Any) -> tf.Tensor:
        return self.experimental_local_results(value)[0]


def is_on_cpu(strategy: tf.distribute.Strategy) -> bool:
    """Whether the replicas are logical CPU devices."""
    return "CPU" in strategy.extended.worker_devices[0]


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
