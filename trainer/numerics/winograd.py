"""Convolutions of 3x3 by less than half the multiplications, where a CPU has to do them all.

Each 4x4 tile of the inputs gives 2x2 outputs by 16 products where 36 are the plain way, after and
before a few additions. A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks,
CVPR 2016, F(2x2, 3x3): its matrices are B, G and A there, here by what they transform. Of its
algorithms this one rounds least, about as much as a plain sum does. cuDNN does the like on a GPU.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

Grid: TypeAlias = Sequence[Sequence[tf.Tensor]]

_TILE = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)
_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)
_FLAT_KERNEL = np.kron(_KERNEL, _KERNEL)  # 16 numbers of 9.

# XLA makes one pass over memory of what are dozens of operations else.
_fused = functools.partial(tf.function, jit_compile=True, autograph=False)


@keras.saving.register_keras_serializable(package="coco_animals")
class WinogradConv2D(keras.layers.Conv2D):
    """Keras's layer for 3x3 kernels, stride 1, same padding, float32, even heights and widths.

    Its numbers are those of Keras's own but for their last bits. They may depend on an image's
    position in the batch, so that it is no layer for features that every batch shares.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """What Keras's layer has computed by `keras.ops.conv`, and adds the bias to."""
        return convolve(inputs, tf.convert_to_tensor(kernel))

    @property
    def scratch_bytes(self) -> int:
        """Bytes that an image needs for tiles, products and the gradient of either."""
        _, height, width, channels = self.input.shape
        # float32; tiles and products are four times as large as what they are made from.
        return 4 * 4 * height * width * (2 * max(channels, self.filters) + channels)


@tf.custom_gradient
def convolve(
    inputs: tf.Tensor, kernel: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    """Returns the convolution of images with a kernel.

    Args:
        inputs: float32 [batch, height, width, channels], height and width even.
        kernel: float32 [3, 3, channels, filters].

    Returns:
        float32 [batch, height, width, filters].
    """
    channels, filters = kernel.shape[2:]
    flat = tf.matmul(_FLAT_KERNEL, tf.reshape(kernel, [9, -1]))
    kernels = tf.reshape(flat, [16, channels, filters])

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        products = _products_from_outputs(upstream)
        inputs_gradient = _inputs_from_tiles(tf.matmul(products, kernels, transpose_b=True), inputs)
        # The tiles again: they are four times as large as the inputs, to be kept for this.
        kernels_gradient = tf.matmul(_tiles_from_inputs(inputs), products, transpose_a=True)
        flat_gradient = tf.reshape(kernels_gradient, [16, -1])
        kernel_gradient = tf.matmul(_FLAT_KERNEL, flat_gradient, transpose_a=True)
        return inputs_gradient, tf.reshape(kernel_gradient, kernel.shape)

    products = tf.matmul(_tiles_from_inputs(inputs), kernels)
    return _outputs_from_products(products, inputs), gradient


@_fused
def _tiles_from_inputs(inputs: tf.Tensor) -> tf.Tensor:
    """Transforms the tiles, which overlap by two: [16, tiles, channels]."""
    height, width = inputs.shape[1:3]
    padded = tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]])
    tiles = [[padded[:, i : i + height : 2, j : j + width : 2] for j in range(4)] for i in range(4)]
    return _stack(_transform(_TILE, tiles))


@_fused
def _outputs_from_products(products: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Transforms [16, tiles, filters] into outputs of the height and width of the images."""
    return _interleave(_transform(_OUTPUT, _unstack(products, images)))


@_fused
def _products_from_outputs(outputs: tf.Tensor) -> tf.Tensor:
    """The transpose of `_outputs_from_products`."""
    quarters = [[outputs[:, i::2, j::2] for j in range(2)] for i in range(2)]
    return _stack(_transform(_OUTPUT.T, quarters))


@_fused
def _inputs_from_tiles(tiles: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """The transpose of `_tiles_from_inputs`: where tiles overlap, it adds them up."""
    grid = _transform(_TILE.T, _unstack(tiles, images))

    def quarter(row: int, column: int) -> tf.Tensor:
        """Every second row and column of the padded inputs, from the tile at hand and the last."""
        return functools.reduce(operator.add, [
            tf.pad(grid[row + 2 * i][column + 2 * j], [[0, 0], [i, 1 - i], [j, 1 - j], [0, 0]])
            for i in range(2)
            for j in range(2)
        ])  # fmt: skip

    padded = _interleave([[quarter(i, j) for j in range(2)] for i in range(2)])
    return padded[:, 1:-1, 1:-1]


def _transform(matrix: np.ndarray, grid: Grid) -> Grid:
    """Returns matrix @ grid @ matrix.T; the matrices of tensors hold 1, -1 and 0 alone."""
    by_column = [_combine(matrix, column) for column in zip(*grid, strict=True)]
    return [_combine(matrix, row) for row in zip(*by_column, strict=True)]


def _combine(matrix: np.ndarray, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    return [
        functools.reduce(operator.add, [c * t for c, t in zip(row, tensors, strict=True) if c])
        for row in matrix
    ]


def _stack(grid: Grid) -> tf.Tensor:
    """Returns [16, batch * rows * columns, channels] of a 4x4 grid of such tensors."""
    stacked = tf.stack([tensor for row in grid for tensor in row])
    return tf.reshape(stacked, [16, -1, stacked.shape[-1]])


def _unstack(stacked: tf.Tensor, images: tf.Tensor) -> Grid:
    """The inverse of `_stack`, for the tiles of images of this shape."""
    height, width = images.shape[1:3]
    shape = [4, 4, -1, height // 2, width // 2, stacked.shape[-1]]
    return [tf.unstack(row) for row in tf.unstack(tf.reshape(stacked, shape))]


def _interleave(quarters: Grid) -> tf.Tensor:
    """Makes one tensor of 2x2, each of which has every second row and column."""
    pairs = tf.stack([tf.stack(row, axis=3) for row in quarters], axis=2)
    height, width, channels = quarters[0][0].shape[1:]
    return tf.reshape(pairs, [-1, 2 * height, 2 * width, channels])
