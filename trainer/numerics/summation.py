"""Sums whose bits do not depend on how their terms are grouped over replicas."""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def sum_in_pairs(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Adds a power of two of tensors as (1 + 2) + (3 + 4); others one after the other."""
    tensors = list(tensors)
    while len(tensors) > 1 and len(tensors) % 2 == 0:
        tensors = [a + b for a, b in zip(tensors[::2], tensors[1::2], strict=True)]
    return functools.reduce(operator.add, tensors)


def sum_exactly(tensors: Sequence[tf.Tensor], largest: tf.Tensor) -> tf.Tensor:
    """Adds float32 tensors in float64: up to a dozen, on any replica, without rounding.

    Of each number only what is a multiple of `largest` * 2**-47 is added: their sums fit float64's
    53 bits. J. Demmel and H. D. Nguyen, Fast Reproducible Floating-Point Summation, ARITH 2013.

    Args:
        tensors: All have one shape.
        largest: The largest magnitude in them, and in those of the other replicas.
    """
    shift = 64.0 * tf.cast(largest, tf.float64)
    cut = [(tf.cast(tensor, tf.float64) + shift) - shift for tensor in tensors]
    return functools.reduce(operator.add, cut)


def largest_on_any_replica(of_variables: Sequence[Sequence[tf.Tensor]]) -> list[tf.Tensor]:
    """Returns for each variable the largest magnitude in its gradients, those of others too."""
    own = [tf.reduce_max([tf.reduce_max(tf.abs(g)) for g in parts]) for parts in of_variables]
    context: Any = tf.distribute.get_replica_context()
    of_all = context.all_gather(tf.stack(own)[tf.newaxis], axis=0)
    return tf.unstack(tf.reduce_max(of_all, axis=0), num=len(own))
