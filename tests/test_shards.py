"""One shard: the unit of work, of retry and of resume."""

import errno
import hashlib
import os
from pathlib import Path

import msgspec
import pytest
import tensorflow as tf

from data_prep import shards
from data_prep.shards import ExampleSpec, ShardTask, Stamp, build_shard, stamp_of
from data_prep.sources.photographs import Rejection
from tests.support.coco_folder import jpeg
from tfrecords import images, naming
from tfrecords.schema import Box, Object
from tfrecords.unusable import UnusableImageError

HALF = Box(ymin=0.0, xmin=0.0, ymax=1.0, xmax=0.5)


def spec(path: Path, content: bytes, number: int, **changes: object) -> ExampleSpec:
    """An example whose photograph shows one animal in its left half."""
    path.write_bytes(content)
    with path.open("rb") as file:
        stamp = stamp_of(file)
    options = {
        "path": str(path), "file": path.name, "filename": path.name,
        "content": hashlib.sha256(content).hexdigest(), "stamp": stamp,
        "image_id": number, "label": number % 2, "size": (32, 24),
        "objects": (Object(HALF, number % 2, False, 0.4),), "crop": None, **changes,
    }  # fmt: skip
    return ExampleSpec(**options)


@pytest.fixture
def task(tmp_path: Path) -> ShardTask:
    """Three photographs, of which the second is none."""
    (tmp_path / "photographs").mkdir()
    (tmp_path / "data" / naming.BUILD_STATE).mkdir(parents=True)
    contents = [jpeg(0), b"<html>", jpeg(2)]
    return ShardTask(
        data_dir=str(tmp_path / "data"),
        file=naming.shard_name("train", 0, 1),
        image_size=256,
        examples=[
            spec(tmp_path / "photographs" / f"{i}.jpg", content, i)
            for i, content in enumerate(contents)
        ],
    )


def shard(task: ShardTask) -> Path:
    return Path(task.data_dir) / task.file


def changed(task: ShardTask, **changes: object) -> ShardTask:
    """The task with its first example changed."""
    first = msgspec.structs.replace(task.examples[0], **changes)
    return msgspec.structs.replace(task, examples=[first, *task.examples[1:]])


def examples(path: Path) -> list[dict[str, object]]:
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    return [dict(tf.train.Example.FromString(record).features.feature) for record in records]


def test_result_says_what_the_shard_holds(task: ShardTask) -> None:
    result = build_shard(task)
    assert result.shard.sha256 == hashlib.sha256(shard(task).read_bytes()).hexdigest()
    assert result.shard.examples == 2
    assert result.counts == {0: 2}
    assert result.image_ids == [0, 2]
    assert result.rejections == [Rejection("1.jpg", "not an image")]
    assert [e["image/filename"].bytes_list.value for e in examples(shard(task))] == [
        [b"0.jpg"], [b"2.jpg"],
    ]  # fmt: skip


def test_finished_shard_is_not_written_again(task: ShardTask) -> None:
    first = build_shard(task)
    before = shard(task).stat().st_mtime_ns
    for example in task.examples:
        Path(example.path).unlink()  # Not even read.
    assert build_shard(task) == first  # With its rejections.
    assert shard(task).stat().st_mtime_ns == before


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        flip_a_bit,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        # Of the note on the finished shard: then nothing vouches for it.
        lambda path: (path.parent / naming.BUILD_STATE / f"{path.name}.json").unlink(),
        lambda path: (path.parent / naming.BUILD_STATE / f"{path.name}.json").write_text('{"in'),
    ],
)
def test_damaged_shard_is_built_again_to_the_same_bytes(damage, task: ShardTask) -> None:
    first = build_shard(task)
    damage(shard(task))
    assert build_shard(task) == first
    assert hashlib.sha256(shard(task).read_bytes()).hexdigest() == first.shard.sha256


@pytest.mark.parametrize(
    "changes",
    [{"label": 1}, {"filename": "new.jpg"}, {"image_id": 9}, {"crop": HALF}, {"objects": ()}],
)
def test_shard_of_other_inputs_is_built_anew(changes, task: ShardTask) -> None:
    first = build_shard(task)
    second = build_shard(changed(task, **changes))
    assert second.shard.sha256 != first.shard.sha256
    assert hashlib.sha256(shard(task).read_bytes()).hexdigest() == second.shard.sha256


def test_where_photographs_lie_does_not_matter(task: ShardTask, tmp_path: Path) -> None:
    moved = msgspec.structs.replace(
        task,
        examples=[
            msgspec.structs.replace(e, path=str(tmp_path / "moved" / e.filename))
            for e in task.examples
        ],
    )
    assert moved.inputs_digest == task.inputs_digest
    assert msgspec.structs.replace(task, image_size=8).inputs_digest != task.inputs_digest


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(shards, "_RECORD", 99), (images, "ENCODING", 99), (images, "JPEG_QUALITY", 50)],
)
def test_shard_of_another_encoding_is_built_anew(module, name, value, task, monkeypatch) -> None:
    """So that no dataset is made by two versions of the code in turn."""
    build_shard(task)
    os.utime(shard(task), (0, 0))  # The file system's clock is coarse.
    monkeypatch.setattr(module, name, value)
    build_shard(task)
    assert shard(task).stat().st_mtime_ns


def test_unreadable_shard_is_named(task: ShardTask, monkeypatch: pytest.MonkeyPatch) -> None:
    build_shard(task)

    def read(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(hashlib, "file_digest", read)
    with pytest.raises(OSError, match=r"Input/output error: .*train.tfrecord-00000-of-00001"):
        build_shard(task)


def test_photograph_that_changes_during_the_build_stops_it(task: ShardTask) -> None:
    """Its split and its place were decided by what it showed before."""
    Path(task.examples[0].path).write_bytes(jpeg(7))
    with pytest.raises(OSError, match=r"changed during the build. Received: .*/0.jpg"):
        build_shard(task)
    assert not shard(task).exists()


def test_photograph_that_could_not_be_read_is_tried_again(task: ShardTask, monkeypatch) -> None:
    whole = Path.open

    def read(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "0.jpg":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return whole(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", read)
    rejections = build_shard(task).rejections
    assert Rejection("0.jpg", "cannot be read: Input/output error") in rejections
    monkeypatch.undo()
    assert build_shard(task).rejections == [Rejection("1.jpg", "not an image")]


def test_installing_a_decoder_builds_the_shards_that_need_it_anew(task: ShardTask) -> None:
    """Others stay: their digest does not know of it."""
    assert changed(task, decoder="pillow-heif missing").inputs_digest != task.inputs_digest
    assert b'"decoder"' not in msgspec.json.encode(task)


def test_photograph_with_another_stamp_and_the_same_content_is_no_change(task: ShardTask) -> None:
    elsewhere = changed(task, stamp=Stamp(1, 1))  # As another machine may see it.
    assert elsewhere.inputs_digest == task.inputs_digest
    assert build_shard(elsewhere).shard.examples == 2


def test_crop_is_stored_with_the_objects_in_it(task: ShardTask) -> None:
    build_shard(changed(task, crop=HALF))
    first, _ = examples(shard(task))
    image = tf.io.decode_jpeg(first["image"].bytes_list.value[0])
    assert image.shape == (24, 16, 3)
    assert list(first["objects/bbox"].float_list.value) == [0, 0, 1, 1]
    assert first["objects/area"].float_list.value[0] == pytest.approx(0.8)  # 0.4 of 0.5.


@pytest.mark.parametrize(
    ("drawn_as_shown", "box"),
    [
        (False, Box(ymin=0.0, xmin=0.0, ymax=0.5, xmax=1.0)),  # Turned with the photograph.
        (True, HALF),
    ],
)
def test_boxes_turn_only_where_they_were_drawn_on_the_stored_image(
    drawn_as_shown: bool, box: Box, tmp_path: Path
) -> None:
    photograph = jpeg(0, orientation=6)
    example = spec(tmp_path / "1.jpg", photograph, 1, drawn_as_shown=drawn_as_shown)
    [found], _ = shards.locate_objects(example, photograph)
    assert found.box == box


def test_box_of_a_photograph_whose_size_nobody_knew_is_never_stored(tmp_path: Path) -> None:
    example = spec(tmp_path / "1.jpg", jpeg(0), 1, size=(0, 0))
    with pytest.raises(UnusableImageError, match="size was not known"):
        shards.locate_objects(example, jpeg(0))


def test_inputs_digest_is_that_of_builds_before_boxes_could_be_drawn_as_shown() -> None:
    """A shard of theirs is kept, since nothing of it would change."""
    example = ExampleSpec(
        path="/1.jpg", file="1.jpg", content="0" * 64, stamp=Stamp(1, 2), filename="1.jpg",
        image_id=1, label=0, size=(32, 24), objects=(Object(HALF, 0, False, 0.4),), crop=None,
    )  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(example)) == {
        "path": "/1.jpg", "file": "1.jpg", "content": "0" * 64, "stamp": {"size": 1, "changed": 2},
        "filename": "1.jpg", "image_id": 1, "label": 0, "size": [32, 24], "crop": None,
        "objects": [{"box": {"ymin": 0.0, "xmin": 0.0, "ymax": 1.0, "xmax": 0.5}, "label": 0,
                     "is_crowd": False, "area": 0.4}],
    }  # fmt: skip
