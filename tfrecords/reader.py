"""Reads shards with tf.data. The one module of this package that needs TensorFlow."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

READ_BYTES = 8 * 2**20  # How much of a shard is read at a time.

_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "image/filename": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
}
_OBJECTS = {
    "label": tf.io.FixedLenFeature([], tf.int64),
    "objects/bbox": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
    "objects/label": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    "objects/is_crowd": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    "objects/area": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
}
_ORIGIN = {
    "image/id": tf.io.FixedLenFeature([], tf.int64),
    "image/filename": tf.io.FixedLenFeature([], tf.string),
}


def read_serialized(paths: Sequence[str] | tf.Tensor) -> tf.data.Dataset:
    """Returns serialized examples, one shard after the other, given one path or several."""
    return tf.data.TFRecordDataset(paths, buffer_size=READ_BYTES)


def read_at(path: tf.Tensor, offset: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns the serialized example whose record starts at a byte of a shard.

    Nothing else of the shard is read. Like everything here, it fails if a CRC does not match.

    Args:
        path: The shard, a scalar string.
        offset: Where the record's frame starts, in bytes, int64.
        size: The frame's size in bytes, int64.
    """
    from_there = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path], compression_type="", buffer_size=size, byte_offsets=[offset]
    )
    spec = tf.TensorSpec([], tf.string)
    return tf.data.experimental.from_variant(from_there, spec).take(1).get_single_element()


def parse_example(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns `image` (JPEG bytes), `image/filename` and `label` (int64) of one example."""
    return tf.io.parse_single_example(serialized, _FEATURES)


def parse_origin(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns `image/id` (int64) and `image/filename` of one example: which photograph it is."""
    return tf.io.parse_single_example(serialized, _ORIGIN)


def parse_box(serialized: tf.Tensor) -> tf.Tensor:
    """Returns the box of an example's largest object of its own label, float32 [4].

    As TFDS's BBox: first row and column, last row and column, as shares of the image; all of the
    image where there is no such object. Crowds count for none.
    """
    example = tf.io.parse_single_example(serialized, _OBJECTS)
    is_own = (example["objects/label"] == example["label"]) & (example["objects/is_crowd"] == 0)
    areas = tf.where(is_own, example["objects/area"], -1.0)
    largest = tf.reduce_max(areas)  # Minus infinity where there is none at all.
    all_of_it = tf.constant([[0.0, 0.0, 1.0, 1.0]])
    boxes = tf.concat([tf.reshape(example["objects/bbox"], [-1, 4]), all_of_it], axis=0)
    number = tf.where(
        largest >= 0, tf.argmax(tf.concat([areas, [-1.0]], 0)), tf.size(areas, tf.int64)
    )
    return tf.gather(boxes, number)


class Objects(NamedTuple):
    """The boxes in an example's image.

    Attributes:
        shape: Height and width of the image in pixels.
        boxes: As TFDS's BBox, float32 [n, 4]; crowds are left out.
        labels: int64 [n].
    """

    shape: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray


def parse_objects(serialized: tf.Tensor) -> Objects:
    """Returns the boxes of one example, outside of any graph."""
    example = tf.io.parse_single_example(serialized, {**_FEATURES, **_OBJECTS})
    height, width = tf.io.extract_jpeg_shape(example["image"])[:2].numpy()
    is_single = example["objects/is_crowd"].numpy() == 0
    boxes = example["objects/bbox"].numpy().reshape(-1, 4)
    return Objects(
        (int(height), int(width)), boxes[is_single], example["objects/label"].numpy()[is_single]
    )


def parse_examples(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the same of many examples, each [n], from serialized ones, [n]."""
    return tf.io.parse_example(serialized, _FEATURES)
