"""The verifier finds whatever can go wrong with a dataset, and says where."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from data_prep.build import build
from data_prep.config import BuildConfig
from data_prep.verification import verify
from tests.support import coco_folder, miniature
from tfrecords import framing, naming, schema, writer
from tfrecords.manifest import Manifest, dataset_digest, read_manifest, write_manifest

TRAIN, VAL = (naming.shard_name(split, 0, 1) for split in ("train", "val"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight cats and dogs for training, two for validation, a shard each."""
    root = tmp_path_factory.mktemp("built")
    build(
        BuildConfig(
            source="coco", coco_dir=str(coco_folder.write(root / "coco")), num_shards=1,
            data_dir=str(root / "data"), classes=coco_folder.CLASSES, num_workers=1,
        )
    )  # fmt: skip
    return root / "data"


@pytest.fixture
def data_dir(built: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(built, tmp_path / "data"))


def findings(data_dir: Path, *, quick: bool = False) -> list[str]:
    return verify(data_dir, read_manifest(data_dir), quick=quick, num_workers=1)


def change_manifest(data_dir: Path, **changes: object) -> None:
    write_manifest(data_dir, msgspec.structs.replace(read_manifest(data_dir), **changes))


def records(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [r.data for r in framing.read_frames(file, path.stat().st_size)]


def rewrite(data_dir: Path, shard: str, changed: list[bytes]) -> None:
    """Writes other records, and a manifest that vouches for them: only their content tells."""
    new = writer.write_shard(data_dir / shard, changed)
    manifest: Manifest = read_manifest(data_dir)
    shards = [new if old.file == shard else old for old in manifest.shards]
    change_manifest(data_dir, shards=shards, digest=dataset_digest(shards))
    info = json.loads((data_dir / "dataset_info.json").read_text())
    for split in info["splits"]:
        if split["name"] == naming.split_of(shard):
            split |= {"shardLengths": [str(new.examples)], "numBytes": str(new.bytes)}
    (data_dir / "dataset_info.json").write_text(json.dumps(info))


def with_image(record: bytes, image: bytes) -> bytes:
    example = schema.parse_example(record)
    return schema.serialize_example(
        image, filename=example.filename, image_id=example.image_id, label=example.label, objects=()
    )


@pytest.mark.parametrize("quick", [False, True])
def test_nothing_is_found_in_what_was_just_built(quick: bool, built: Path) -> None:
    assert findings(built, quick=quick) == []


def flip(at: float) -> Callable[[Path], None]:
    """Flips a bit at a share of the train shard."""

    def damage(data_dir: Path) -> None:
        content = bytearray((data_dir / TRAIN).read_bytes())
        content[int(at * len(content))] ^= 8
        (data_dir / TRAIN).write_bytes(content)

    return damage


def cut(data_dir: Path) -> None:
    (data_dir / TRAIN).write_bytes((data_dir / TRAIN).read_bytes()[:-5])


def unending(jpeg: bytes) -> bytes:
    """Puts a comment that is longer than the file among the last pixels."""
    return jpeg[:-60] + b"\xff\xfe\xfe\xe3" + jpeg[-60:]


def change_info(data_dir: Path) -> None:
    path = data_dir / "dataset_info.json"
    path.write_text(path.read_text().replace('"8"', '"7"'))


DAMAGE = {
    # Name: what is done, what is said of it, whether --quick sees it.
    "first byte": (flip(0), "record 0 at byte 0: its length", True),
    "middle byte": (flip(0.52), "its data do not match their CRC, bytes ", True),
    "last byte": (flip(0.9999), "record 7 at byte", True),
    "cut": (cut, "record 7 at byte", True),
    "missing shard": (lambda d: (d / VAL).unlink(), f"{VAL}: missing", True),
    "folder for a shard": (lambda d: ((d / VAL).unlink(), (d / VAL).mkdir()),
                           f"{VAL}: cannot be read: Is a directory", True),
    "extra shard": (lambda d: shutil.copy(d / VAL, d / naming.shard_name("test", 0, 1)),
                    "coco_animals-test.tfrecord-00000-of-00001: not in the manifest", True),
    "digest": (lambda d: change_manifest(d, digest="0"), "its digest is not that", True),
    "version": (lambda d: change_manifest(d, version=99), "version 99, this code reads", True),
    "shard twice": (lambda d: change_manifest(d, shards=read_manifest(d).shards * 2),
                    f"{TRAIN} stands 2 times", True),
    "counts": (lambda d: change_manifest(d, counts={"train": {"cat": 9, "dog": 9}, "val": {}}),
               "train has 18 examples by class, 8 by shard", True),
    "counts of classes": (
        lambda d: change_manifest(d, counts={"train": {"cat": 8, "dog": 0},
                                             "val": {"cat": 1, "dog": 1}}),
        "train has 8 of cat, the shards hold 4", False),
    "TFDS's counts": (change_info, "dataset_info.json: train has", True),
    "no TFDS": (lambda d: (d / "features.json").unlink(), "features.json: missing", True),
    "not TFDS's": (lambda d: (d / "dataset_info.json").write_text("{}"), "not as TFDS", True),
    "no image": (
        lambda d: rewrite(d, VAL, [with_image(r, b"<html>") for r in records(d / VAL)]),
        f"{VAL}: record 0 at byte 0: not an image", False),
    "cut image": (
        lambda d: rewrite(d, VAL, [with_image(r, coco_folder.jpeg(99)[:-99])
                                   for r in records(d / VAL)[:1]] + records(d / VAL)[1:]),
        f"{VAL}: record 0 at byte 0: cannot be decoded", False),
    "image of which TensorFlow misses a part": (
        lambda d: rewrite(d, VAL, [with_image(r, unending(schema.parse_example(r).image))
                                   for r in records(d / VAL)]),
        f"{VAL}: record 0 at byte 0: TensorFlow cannot decode it", False),
    "no example": (lambda d: rewrite(d, VAL, [b"\xff\xff"] * 2), "not a tf.train.Example", False),
    "empty example": (lambda d: rewrite(d, VAL, [b""] * 2), "not one image, image/fil", False),
    "label beyond the classes": (
        lambda d: change_manifest(d, classes=["cat"]), "label 1, there are 1 classes", False),
    "leak": (
        lambda d: rewrite(d, VAL, [records(d / TRAIN)[3], records(d / VAL)[1]]),
        f"leaks: the same image as record 3 of {TRAIN}", False),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_its_place_named(name: str, data_dir: Path) -> None:
    damage, says, is_quick = DAMAGE[name]
    damage(data_dir)
    assert any(says in finding for finding in findings(data_dir)), findings(data_dir)
    assert bool(findings(data_dir, quick=True)) == is_quick


def test_leak_is_found_though_the_image_was_saved_in_another_form(data_dir: Path) -> None:
    """The same pixels, other bytes: a comment in the JPEG's header."""
    record = records(data_dir / TRAIN)[0]
    image = schema.parse_example(record).image
    other = image[:2] + b"\xff\xfe\x00\x06note" + image[2:]
    rewrite(data_dir, VAL, [with_image(record, other), records(data_dir / VAL)[1]])
    [finding] = [f for f in findings(data_dir) if "leaks" in f]
    assert finding.startswith(f"{VAL}: record 0 (")
    assert hashlib.sha256(other).digest() != hashlib.sha256(image).digest()


@pytest.mark.parametrize(("policy", "split_by", "leaks"), [
    ("crop", "hash", True), ("crop", "source", False), ("single", "hash", False)
])  # fmt: skip
def test_crops_of_one_photograph_in_two_splits_leak(policy, split_by, leaks, data_dir) -> None:
    seen = schema.parse_example(records(data_dir / TRAIN)[0])
    crop = schema.serialize_example(
        coco_folder.jpeg(99), filename=seen.filename, image_id=seen.image_id, label=seen.label,
        objects=(),
    )  # fmt: skip
    rewrite(data_dir, VAL, [crop, records(data_dir / VAL)[1]])
    options = read_manifest(data_dir).options | {"label_policy": policy, "split_by": split_by}
    change_manifest(data_dir, options=options)
    found = [f for f in findings(data_dir) if "crops of one photograph" in f]
    assert len(found) == leaks


@pytest.mark.parametrize("name", naming.CLASS_NAMES)
@pytest.mark.parametrize(("names", "says"), [("dog\ncat\n", "its classes are dog, cat"),
                                             (None, "missing")])  # fmt: skip
def test_classes_that_tfds_would_call_otherwise_are_found(name, names, says, data_dir) -> None:
    (data_dir / name).unlink()
    if names:
        (data_dir / name).write_text(names)
    [finding] = findings(data_dir)
    assert finding.startswith(f"{name}: {says}")


def test_several_workers_find_the_same(data_dir: Path) -> None:
    flip(0.5)(data_dir)
    cut(data_dir)
    manifest = read_manifest(data_dir)
    assert verify(data_dir, manifest, num_workers=2) == verify(data_dir, manifest, num_workers=1)


def test_command_says_one_line_or_a_line_for_each_finding(data_dir: Path) -> None:
    done = miniature.python("data_prep.verify", f"--data_dir={data_dir}")
    assert (done.returncode, done.stderr) == (0, "")
    [line] = done.stdout.splitlines()
    assert "every byte and image of 2 shards, 10 examples" in line
    (data_dir / VAL).unlink()
    cut(data_dir)
    done = miniature.python("data_prep.verify", f"--data_dir={data_dir}", "--quick")
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [TRAIN, TRAIN, VAL]
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: 3 findings in ")


def test_build_mends_what_was_found(data_dir: Path) -> None:
    options = read_manifest(data_dir).options | {"data_dir": str(data_dir)}
    flip(0.5)(data_dir)
    assert findings(data_dir, quick=True)
    tuples = {name: tuple(v) for name, v in options.items() if isinstance(v, list)}
    build(BuildConfig(**options | tuples))
    assert findings(data_dir) == []


def test_unfinished_dataset_is_no_dataset(data_dir: Path) -> None:
    (data_dir / "manifest.json").unlink()
    done = miniature.python("data_prep.verify", f"--data_dir={data_dir}")
    assert done.returncode == 1
    assert "No complete dataset" in done.stderr
