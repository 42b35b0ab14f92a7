"""A model whose update is the same, to the last bit, on one CPU replica and on two, three or four.

A gradient summed over 32 examples and one summed over 16 and 16 differ in their last bits, and a
recipe that starts with large losses makes that a difference in the third digit within 20 steps.
So the global batch is always cut into the same parts, and the sum of the parts is the same in
whatever groups they are added. Four are added in pairs: (1 + 2) + (3 + 4), whether one replica
computes all or four compute one each. No order of additions suits both halves and thirds, so where
three divides the batch, there are up to twelve parts, added in float64 after what no addition could
hold on to is cut off: then none rounds, and their order does not matter. Where memory is short,
gradient accumulation makes a part of pieces, the micro-batches, one after the other; they belong to
it on any replica.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer import workarounds
from trainer.numerics.dropout import PerExampleDropout
from trainer.numerics.summation import largest_on_any_replica, sum_exactly, sum_in_pairs

_PARTS = 12  # Of a global batch that it divides: 1, 2, 3, 4, 6 and 12 replicas have as many each.


def count_parts(batch_size: int) -> int:
    """Into how many equal parts a global batch is cut, on any number of replicas."""
    return math.gcd(batch_size, _PARTS)


def parts_per_replica(batch_size: int, num_replicas: int) -> int:
    """How many of the parts each replica computes; 1 where they cannot be shared out."""
    parts = count_parts(batch_size)
    return parts // num_replicas if parts % num_replicas == 0 else 1


def count_pieces(rows: int, microbatch: int | None) -> int:
    """Into how many equal pieces to cut so many rows, so that none has more than a microbatch."""
    if microbatch is None:
        return 1
    return next(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= microbatch)


def in_pieces(
    model: keras.Model, batch: tf.Tensor, parts: int, microbatch: int | None
) -> tf.Tensor:
    """What a model that does not train makes of a batch, which is cut as a step of training is.

    On a CPU the last bits of a row may depend on how many go through at once. Cut so, they do not
    depend on how many replicas share the global batch.
    """
    pieces = parts * count_pieces(batch.shape[0] // parts, microbatch)
    if microbatch is None or microbatch >= batch.shape[0]:
        return tf.concat([model(x, training=False) for x in tf.split(batch, pieces)], axis=0)
    out = tf.map_fn(
        lambda piece: model(piece, training=False),
        tf.reshape(batch, [pieces, -1, *batch.shape[1:]]),
        parallel_iterations=1,
        fn_output_signature=model.output.dtype,
    )
    return tf.reshape(out, [-1, *out.shape[2:]])


@dataclasses.dataclass(frozen=True)
class Sums:
    """How a replica adds its gradient up.

    Attributes:
        parts: How many parts its rows of the batch are cut into.
        dtype: The sums', over the parts and then over the replicas.
    """

    parts: int = 1
    dtype: tf.DType = tf.float32


def reproducible_sums(batch_size: int, num_replicas: int) -> Sums:
    """Returns the sums that make an update the same on any number of replicas.

    Args:
        batch_size: The global one.
    """
    dtype = tf.float64 if count_parts(batch_size) % 3 == 0 else tf.float32
    return Sums(parts_per_replica(batch_size, num_replicas), dtype)


class ReproducibleModel(keras.Model):
    """A functional model that computes its gradient part by part, in a fixed order.

    Compile it with a `keras.losses.Loss`, and tell it once how it trains, by `settle`:

        import keras
        import numpy as np
        from trainer.numerics.reproducible_model import ReproducibleModel, reproducible_sums

        inputs = keras.Input((4,))
        model = ReproducibleModel(inputs, keras.layers.Dense(2, "softmax")(inputs))
        model.compile("sgd", keras.losses.CategoricalCrossentropy())
        model.settle(reproducible_sums(batch_size=32, num_replicas=1))
        model.fit(np.zeros([64, 4]), np.eye(2)[[0, 1] * 32], batch_size=32, shuffle=False)

    Attributes:
        sums: How a replica's gradient is added up.
        microbatch: How many images go through the model at once at most; None: a replica's rows.
    """

    sums: Sums = Sums()
    microbatch: int | None = None
    _trained: keras.Model | None = None
    _uses_xla: bool = False

    def settle(
        self,
        sums: Sums,
        *,
        trained: keras.Model | None = None,
        uses_xla: bool = False,
    ) -> None:
        """Tells the model how it trains and predicts, before it first does.

        Args:
            trained: What makes probabilities of a batch; None: the model itself. The layers behind
                the frozen ones, where the batches are features that those have made before.
            uses_xla: Whether XLA compiles what makes the gradient of a part. `fit` cannot let it
                have the whole step, whose reductions over the replicas it does not know.
        """
        self.sums = sums
        self._trained = trained
        self._uses_xla = uses_xla

    @property
    def trained(self) -> keras.Model:
        """What a batch goes through: the model, or its layers behind the frozen ones."""
        return self._trained or self

    def set_microbatch(self, size: int | None) -> None:
        """Lets no more than so many images through at once, from the next trace on; None: all."""
        self.microbatch = size

    @contextlib.contextmanager
    def trying_microbatch(self, size: int | None) -> Iterator[None]:
        """Sets the micro-batch for a while, and puts back what it was."""
        before = self.microbatch
        self.set_microbatch(size)
        try:
            yield
        finally:
            self.set_microbatch(before)

    def build_training(self) -> None:
        """Builds loss, metrics and optimizer, before a checkpoint is restored."""
        workarounds.build_training(self)

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update; called by `fit` on each replica with its rows of the batch."""
        images, labels = data
        gradients, predictions = self.backward(images, labels)
        for layer in self._dropouts:
            layer.advance()
        flaw = tf.where(self._has_number(gradients), 0.0, math.nan)
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _overflow_everywhere(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return self._measure(labels, predictions, flaw)

    def backward(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Goes through a replica's rows of the batch and back, and changes nothing.

        Returns:
            The gradient of each trainable variable, summed over the parts in `sums.dtype`; and the
            probabilities, [rows, classes].
        """
        for layer in self._dropouts:
            layer.draw(images.shape[0], layer.input.shape[-1])
        gradient_of = self._gradient
        if self._uses_xla:  # Anew on each replica, whose variables are its own.
            gradient_of = tf.function(gradient_of, jit_compile=True, autograph=False)
        one_by_one = self.microbatch is not None and self.microbatch < images.shape[0]
        gradients: list[list[tf.Tensor]] = []
        predictions: list[tf.Tensor] = []
        parts = zip(
            tf.split(images, self.sums.parts), tf.split(labels, self.sums.parts), strict=True
        )
        for part, (x, y) in enumerate(parts):
            with tf.control_dependencies(gradients[-1] if one_by_one and part else []):
                gradient, prediction = self._part(gradient_of, x, y, part)
            gradients.append(gradient)
            predictions.append(prediction)
        return self._sum(gradients), tf.concat(predictions, axis=0)

    def _sum(self, of_parts: Sequence[Sequence[tf.Tensor]]) -> list[tf.Tensor]:
        """Adds up the gradients of the parts, each a list with a tensor for each variable."""
        of_variables = list(zip(*of_parts, strict=True))
        if self.sums.dtype == tf.float32:
            return list(map(sum_in_pairs, of_variables))
        return list(map(sum_exactly, of_variables, largest_on_any_replica(of_variables)))

    def predict_step(self, data: Any) -> tf.Tensor:
        """Returns probabilities; called by `predict` with a replica's rows of the batch."""
        [batch] = data if isinstance(data, tuple) else [data]
        return in_pieces(self.trained, batch, self.sums.parts, self.microbatch)

    def _part(
        self, gradient_of: Callable[..., Any], images: tf.Tensor, labels: tf.Tensor, part: int
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Like `_gradient`, for a whole part: gradient accumulation over its micro-batches."""
        pieces = count_pieces(images.shape[0], self.microbatch)
        if pieces == 1:
            return gradient_of(images, labels, part, self.sums.parts)

        def add(i: tf.Tensor, gradient: Any, predictions: Any) -> tuple[Any, ...]:
            piece, prediction = gradient_of(
                images[i], labels[i], part * pieces + i, self.sums.parts * pieces
            )
            total = [a + b for a, b in zip(gradient, piece, strict=True)]
            return i + 1, total, predictions.write(i, prediction)

        images, labels = (tf.reshape(t, [pieces, -1, *t.shape[1:]]) for t in (images, labels))
        _, gradient, predictions = tf.while_loop(
            lambda i, *_: i < pieces,
            add,
            [
                0,
                [tf.zeros(v.shape, v.dtype) for v in self.trainable_variables],
                tf.TensorArray(tf.float32, pieces),
            ],
            parallel_iterations=1,
        )
        return gradient, predictions.concat()

    def _gradient(
        self, images: tf.Tensor, labels: tf.Tensor, part: int | tf.Tensor, parts: int
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Returns the gradient, and probabilities, of one of so many equal parts of the rows."""
        for layer in self._dropouts:
            layer.part = part
        with tf.GradientTape() as tape:
            prediction = self.trained(images, training=True)
            # Keras has multiplied by 1 / replicas. A quarter loses no bit, so that a third of a
            # quarter, a quarter of a third and a twelfth are the same number.
            loss = self.compute_loss(images, labels, prediction, training=True)
            share = self.optimizer.scale_loss(loss * (1.0 / parts))
        return tape.gradient(share, self.trainable_variables), prediction

    @property
    def _dropouts(self) -> list[PerExampleDropout]:
        layers = [layer for layer in self.layers if isinstance(layer, PerExampleDropout)]
        return [layer for layer in layers if layer.rate > 0]

    def _has_number(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        """Whether the gradient is one; float16 may overflow, as long as a smaller scale is left."""
        finite = _are_finite(gradients)
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            return finite | (self.optimizer.dynamic_scale.value > 1)
        return finite

    def _measure(
        self, labels: tf.Tensor, predictions: tf.Tensor, flaw: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Updates the metrics with the global batch: the same numbers on every replica.

        So they do not depend on how many there are, and one replica's are a checkpoint's. The loss
        too is that of the whole batch: the parts' have been multiplied by 1 / replicas, rounded.
        A flaw, 0 or NaN, of any replica makes it NaN.
        """
        context: Any = tf.distribute.get_replica_context()
        labels, predictions, flaws = (
            context.all_gather(tf.identity(part), axis=0)
            for part in (labels, predictions, flaw[tf.newaxis])
        )
        losses = self.loss.call(labels, predictions)
        loss = tf.reduce_mean(losses) + tf.reduce_sum(flaws)
        tracker = next(metric for metric in self.metrics if metric.name == "loss")
        tracker.update_state(loss)  # Unweighed: each batch has as many rows.
        return self.compute_metrics(None, labels, predictions)

    def get_metrics_result(self) -> dict[str, tf.Tensor]:
        """The metrics of one replica, which are those of all: a sum of three would be rounded."""
        if tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context():
            return super().get_metrics_result()
        local = self.distribute_strategy.experimental_local_results
        results: dict[str, tf.Tensor] = {}
        for metric in self.metrics:
            result = metric.stateless_result([local(v.value)[0] for v in metric.variables])
            results |= result if isinstance(result, dict) else {metric.name: result}
        return results

    @property
    def updates(self) -> int:
        """How many steps have changed the weights: all but those that float16 was too small for."""
        return int(keras.ops.convert_to_numpy(self.optimizer.iterations))

    def read_metrics(self) -> list[float]:
        """Returns the state of the metrics, for `write_metrics` on any number of replicas."""
        local = self.distribute_strategy.experimental_local_results
        return [float(local(variable.value)[0]) for variable in self.metrics_variables]

    def write_metrics(self, state: Sequence[float]) -> None:
        """Goes on with metrics that were read before, also where no step has run yet."""
        local = self.distribute_strategy.experimental_local_results
        for variable, value in zip(self.metrics_variables, state, strict=True):
            for replica in local(variable.value):
                replica.assign(value)


def _overflow_everywhere(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Makes an overflow on any replica one on all, so that all of them pass over the step.

    Keras looks at the first replica's gradients alone, before they are added up.
    """
    finite = _are_finite(gradients)
    context: Any = tf.distribute.get_replica_context()
    overflows = context.all_reduce("SUM", tf.where(finite, 0.0, 1.0))
    first, *others = gradients
    return [tf.where(overflows > 0, tf.constant(math.nan, first.dtype), first), *others]


def _are_finite(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
