"""What one example holds, and its bytes: a tf.train.Example in the layout that TFDS reads.

Written without TensorFlow, whose import would cost each worker process two seconds. The message
below has tf.train.Example's fields under a package name of its own, since TensorFlow registers the
original under the same name in the same process:
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/example.proto
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory


class Box(msgspec.Struct, frozen=True):
    """A box in shares of the image, each in [0, 1]; the order is that of TFDS's BBox."""

    ymin: float
    xmin: float
    ymax: float
    xmax: float

    @property
    def area(self) -> float:
        """Share of the image that the box covers; 0 where it is inverted."""
        return max(0.0, self.ymax - self.ymin) * max(0.0, self.xmax - self.xmin)


class Object(msgspec.Struct, frozen=True):
    """One instance of the classes in the image.

    Attributes:
        box: Where it stands.
        label: Index into the dataset's classes.
        is_crowd: Whether the box covers a group that nobody told apart.
        area: Share of the image that the instance itself covers, in [0, 1].
    """

    box: Box
    label: int
    is_crowd: bool
    area: float


def serialize_example(
    image: bytes, *, filename: str, image_id: int, label: int, objects: Sequence[Object]
) -> bytes:
    """Returns a serialized tf.train.Example; equal arguments give equal bytes.

    Args:
        image: A JPEG, upright.
        filename: The photograph's path relative to its image folder.
        image_id: The source's id of the photograph.
        label: Index into the dataset's classes.
        objects: Every instance of the classes in this image.
    """
    example = _EXAMPLE()
    feature = example.features.feature
    feature["image"].bytes_list.value.append(image)
    feature["image/filename"].bytes_list.value.append(filename.encode())
    feature["image/id"].int64_list.value.append(image_id)
    feature["label"].int64_list.value.append(label)
    # A key is present even without objects, as TFDS's own writer has it.
    feature["objects/bbox"].float_list.value.extend(x for o in objects for x in _corners(o.box))
    feature["objects/label"].int64_list.value.extend(o.label for o in objects)
    feature["objects/is_crowd"].int64_list.value.extend(int(o.is_crowd) for o in objects)
    feature["objects/area"].float_list.value.extend(o.area for o in objects)
    return example.SerializeToString(deterministic=True)


class Example(NamedTuple):
    """What tells one example from another: the arguments of `serialize_example` but the objects."""

    image: bytes
    filename: str
    image_id: int
    label: int


def parse_example(serialized: bytes) -> Example:
    """Reads an example without TensorFlow.

    Raises:
        ValueError: if it is no tf.train.Example, or one without a value for each of the features.
    """
    try:
        feature = _EXAMPLE.FromString(serialized).features.feature
    except message.DecodeError as error:
        raise ValueError(f"not a tf.train.Example: {error}") from None
    values = (
        feature["image"].bytes_list.value,
        feature["image/filename"].bytes_list.value,
        feature["image/id"].int64_list.value,
        feature["label"].int64_list.value,
    )
    if any(len(value) != 1 for value in values):
        raise ValueError("not one image, image/filename, image/id and label")
    [image], [filename], [image_id], [label] = values
    return Example(image, filename.decode(errors="replace"), image_id, label)


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.ymin, box.xmin, box.ymax, box.xmax


def _example_class() -> Any:
    """Builds the message class of tf.train.Example from a description of its fields."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="coco_animals/example.proto", package="coco_animals", syntax="proto3"
    )
    lists = {
        "BytesList": field.TYPE_BYTES,
        "FloatList": field.TYPE_FLOAT,
        "Int64List": field.TYPE_INT64,
    }
    for name, kind in lists.items():
        message = file.message_type.add(name=name)
        message.field.add(name="value", number=1, type=kind, label=field.LABEL_REPEATED)

    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(
        [("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")], 1
    ):
        feature.field.add(
            name=name, number=number, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL,
            type_name=f".coco_animals.{kind}", oneof_index=0,
        )  # fmt: skip

    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(
        name="value", number=2, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL,
        type_name=".coco_animals.Feature",
    )  # fmt: skip
    features.field.add(
        name="feature", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED,
        type_name=".coco_animals.Features.FeatureEntry",
    )  # fmt: skip

    example = file.message_type.add(name="Example")
    example.field.add(
        name="features", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL,
        type_name=".coco_animals.Features",
    )  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("coco_animals.Example"))


_EXAMPLE = _example_class()
