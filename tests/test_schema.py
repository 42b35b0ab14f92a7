import tensorflow as tf

from tfrecords import schema
from tfrecords.schema import Box, Object


def example(objects: list[Object]) -> bytes:
    return schema.serialize_example(
        b"jpeg", filename="ä.jpg", image_id=2**62, label=3, objects=objects
    )


def test_example_is_what_tensorflow_parses() -> None:
    objects = [Object(Box(0.1, 0.2, 0.3, 0.4), 1, False, 0.5), Object(Box(0, 0, 1, 1), 2, True, 1)]
    parsed = tf.train.Example.FromString(example(objects)).features.feature
    assert parsed["image"].bytes_list.value == [b"jpeg"]
    assert parsed["image/filename"].bytes_list.value[0].decode() == "ä.jpg"
    assert parsed["image/id"].int64_list.value == [2**62]
    assert parsed["label"].int64_list.value == [3]
    assert parsed["objects/label"].int64_list.value == [1, 2]
    assert parsed["objects/is_crowd"].int64_list.value == [0, 1]
    assert len(parsed["objects/bbox"].float_list.value) == 8
    assert parsed["objects/area"].float_list.value == [0.5, 1]


def test_bytes_are_those_of_tensorflows_own_deterministic_serialization() -> None:
    for objects in ([], [Object(Box(0, 0, 1, 1), 0, False, 0.25)]):
        message = tf.train.Example.FromString(example(objects))
        assert message.SerializeToString(deterministic=True) == example(objects)
