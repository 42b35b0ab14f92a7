"""Pairwise and reproducible summation: the same bits, however replicas group the terms."""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def sum_in_pairs(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Pairwise summation: a power of two of tensors as (1 + 2) + (3 + 4), others one by one."""
    tensors = list(tensors)
    while len(tensors) > 1 and len(tensors) % 2 == 0:
        tensors = [a + b for a, b in zip(tensors[::2], tensors[1::2], strict=True)]
    return functools.reduce(operator.add, tensors)


def sum_exactly(tensors: Sequence[tf.Tensor], largest: tf.Tensor) -> tf.Tensor:
    """Reproducible summation: adds up to a dozen float32 tensors in float64, without rounding.

    Of each number only what is a multiple of `largest` * 2**-47 is added: their sums fit float64's
    53 bits. J. Demmel and H. D. Nguyen, Fast Reproducible Floating-Point Summation, ARITH 2013.

    Args:
        tensors: All have one shape.
        largest: The largest magnitude in them, and in those of the other replicas.
    """
    shift = 64.0 * tf.cast(largest, tf.float64)
    cut = [(tf.cast(tensor, tf.float64) + shift) - shift for tensor in tensors]
    return functools.reduce(operator.add, cut)


def largest_on_any_replica(gradients: Sequence[Sequence[tf.Tensor]]) -> list[tf.Tensor]:
    """Returns the largest magnitude in the gradients of each variable, over all replicas.

    Args:
        gradients: This replica's gradients, a list for each variable, in it one for each part.
    """
    own = [tf.reduce_max([tf.reduce_max(tf.abs(g)) for g in parts]) for parts in gradients]
    context: Any = tf.distribute.get_replica_context()
    largest = context.all_gather(tf.stack(own)[tf.newaxis], axis=0)
    return tf.unstack(tf.reduce_max(largest, axis=0), num=len(own))
