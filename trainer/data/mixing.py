"""Mixes each pair of neighbours in a batch, photographs and labels: mixup and CutMix.

Neighbours in a shuffled stream are as good as any other pair, and no even division of a batch over
replicas and workers parts them. What is drawn is a function of (seed, the pair's position).
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from scipy import special

NUM_DRAWS = 4  # That a pair needs.

_QUANTILES = 4096  # A share comes from a table: drawn from gammas, small alphas give 0 / 0.
_STREAM = 1  # Keeps these draws apart from the augmentation's, which have the same seed.


def draw(seed: int, position: tf.Tensor) -> tf.Tensor:
    """Returns what decides an example's mixing, float32 [NUM_DRAWS] in [0, 1): its pair's own."""
    pair = tf.random.experimental.stateless_fold_in([seed, position // 2], _STREAM)
    return tf.random.stateless_uniform([NUM_DRAWS], pair)


def mixer(
    mixup: float, cutmix: float
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns a function of (images, labels, draws) that returns mixed images and labels.

    Images are RGB uint8 [rows, height, width, 3], labels float32 [rows, num_classes], draws as of
    `draw`; the number of rows is even. Each of a pair gets as much of the other as that gets of it.

    Args:
        mixup: Alpha of mixup: how evenly pixels are blended (Zhang et al., mixup: Beyond Empirical
            Risk Minimization, ICLR 2018); 0: never.
        cutmix: Alpha of CutMix: how large a box is swapped (Yun et al., CutMix: Regularization
            Strategy to Train Strong Classifiers, ICCV 2019); 0: never. With both, each pair is
            mixed one way or the other, half of them each.
    """
    shares = tf.constant(np.stack([_beta_quantiles(mixup), _beta_quantiles(cutmix)]), tf.float32)
    mixup_chance = 0.5 if mixup and cutmix else float(mixup > 0)

    def mix(images: tf.Tensor, labels: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        draws = draws[::2]  # Both of a pair have the same.
        cuts = draws[:, 0] >= mixup_chance
        rank = tf.cast(draws[:, 1] * _QUANTILES, tf.int32)
        share = tf.gather_nd(shares, tf.stack([tf.cast(cuts, tf.int32), rank], axis=1))
        blended = tf.tile(share[:, None, None], [1, *images.shape[1:3]])
        kept = tf.where(cuts[:, None, None], _kept(share, draws[:, 2:], images.shape[1:3]), blended)
        own = tf.reduce_mean(kept, axis=(1, 2))  # A box that reaches over the edge is smaller.
        mixed = _swap(tf.cast(images, tf.float32), kept[..., None])
        return tf.cast(mixed + 0.5, tf.uint8), _swap(labels, own[:, None])

    return mix


def _beta_quantiles(alpha: float) -> np.ndarray:
    """Shares that cut Beta(alpha, alpha) into equal parts, float64 [_QUANTILES]; all 1 for 0."""
    if not alpha:
        return np.ones(_QUANTILES)
    return special.betaincinv(alpha, alpha, (np.arange(_QUANTILES) + 0.5) / _QUANTILES)


def _kept(share: tf.Tensor, centre: tf.Tensor, size: tf.TensorShape) -> tf.Tensor:
    """Returns 1 where an image stays itself and 0 in its box, float32 [pairs, height, width]."""

    def within(side: int, centre: tf.Tensor) -> tf.Tensor:
        half = tf.sqrt(1 - share) * side / 2
        distance = tf.range(side, dtype=tf.float32) + 0.5 - (centre * side)[:, None]
        return tf.abs(distance) < half[:, None]

    height, width = size
    box = within(height, centre[:, 0])[:, :, None] & within(width, centre[:, 1])[:, None, :]
    return 1 - tf.cast(box, tf.float32)


def _swap(rows: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Gives each of a pair the other's value, to the share that it does not keep of its own."""
    pairs = tf.reshape(rows, [-1, 2, *rows.shape[1:]])
    first, second = tf.unstack(pairs, axis=1)
    given = (1 - kept) * (second - first)
    return tf.reshape(tf.stack([first + given, second - given], axis=1), [-1, *rows.shape[1:]])
