"""The build from end to end, on tiny COCO folders and class folders."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from data_prep import summary, target
from data_prep.build import build, build_task
from data_prep.config import BuildConfig
from tests.support import coco_folder, killed_builds
from tfrecords.manifest import read_manifest


def config(coco: Path, data_dir: Path, **changes: object) -> BuildConfig:
    options = {
        "source": "coco", "coco_dir": str(coco), "data_dir": str(data_dir),
        "classes": coco_folder.CLASSES, "num_workers": 1, **changes,
    }  # fmt: skip
    return BuildConfig(**options)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return coco_folder.write(tmp_path / "coco", coco_folder.instances(40))


def test_dataset_is_what_the_contract_says(coco, tmp_path) -> None:
    build(config(coco, tmp_path / "data"))
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert {f"coco_animals-train.tfrecord-{i:05d}-of-00008" for i in range(8)} <= names
    assert {"dataset_info.json", "features.json", "rejected.jsonl", "attribution.csv"} <= names
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["version"] == 1
    assert manifest["classes"] == ["cat", "dog"]
    assert manifest["counts"] == {"train": {"cat": 16, "dog": 16}, "val": {"cat": 4, "dog": 4}}
    assert manifest["options"]["label_policy"] == "single"
    for shard in manifest["shards"]:
        assert shard.keys() == {"file", "examples", "bytes", "sha256"}
        assert (tmp_path / "data" / shard["file"]).stat().st_size == shard["bytes"]
    attribution = (tmp_path / "data" / "attribution.csv").read_text().splitlines()
    assert attribution[:2] == ["image_id,license,url", "1,https://example.org/cc0,"]
    assert len(attribution) == 41


def test_tfds_reads_every_example_with_its_label(coco, tmp_path) -> None:
    import tensorflow_datasets as tfds

    build(config(coco, tmp_path / "data"))
    builder = tfds.builder_from_directory(str(tmp_path / "data"))
    found = {}
    for split in builder.info.splits:
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            assert example["image"].shape == (24, 32, 3)
            assert example["image/filename"].decode() == f"{example['image/id']}.jpg"
            [box] = example["objects"]["bbox"]
            assert box.tolist() == pytest.approx([4 / 24, 4 / 32, 16 / 24, 20 / 32])
            assert example["objects"]["area"].tolist() == pytest.approx([150 / (24 * 32)])
            assert example["objects"]["label"].tolist() == [example["label"]]
            found[int(example["image/id"])] = builder.info.features["label"].names[example["label"]]
    assert found == {i: "dog" if i % 2 else "cat" for i in range(1, 41)}


def test_tfds_knows_what_the_dataset_is(coco, tmp_path) -> None:
    import tensorflow_datasets as tfds

    build(config(coco, tmp_path / "data", image_size=16))
    info = tfds.builder_from_directory(str(tmp_path / "data")).info
    assert {name: split.num_examples for name, split in info.splits.items()} == {
        "train": 32, "val": 8,
    }  # fmt: skip
    for said in ("cat, dog", "Made from: COCO", "exactly one", "train 32, val 8", "16 pixels"):
        assert said in info.description
    assert "lin2014microsoft" in info.citation
    assert info.homepage == "https://cocodataset.org"
    assert info.supervised_keys == ("image", "label")
    assert str(info.version) == "1.0.0"
    assert info.features["label"].names == ["cat", "dog"]
    assert all(feature.doc.desc for feature in info.features.values())


def test_only_what_is_made_from_coco_cites_it(coco, tmp_path) -> None:
    (coco / "annotations" / "instances_train2017.json").rename(
        coco / "annotations" / "instances_default.json"
    )
    (coco / "train2017").rename(coco / "images")
    build(config(coco, tmp_path / "data"))
    card = json.loads((tmp_path / "data" / "dataset_info.json").read_text())
    assert "Made from: CVAT" in card["description"]
    assert not {"citation", "location"} & card.keys()


@pytest.mark.parametrize("policy", ["single", "crop"])
def test_bytes_depend_on_inputs_and_options_alone(policy, coco, tmp_path) -> None:
    one = build(config(coco, tmp_path / "one", label_policy=policy))
    two = build(config(coco, tmp_path / "two", label_policy=policy, num_workers=2))
    assert one.digest == two.digest
    moved = (tmp_path / "coco").rename(tmp_path / "elsewhere")
    assert build(config(moved, tmp_path / "three", label_policy=policy)).digest == one.digest
    assert build(config(moved, tmp_path / "four", salt="other")).digest != one.digest


def stamps(data_dir: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in data_dir.glob("*.tfrecord-*")}


def test_second_build_redoes_only_what_is_missing_or_damaged(coco, tmp_path) -> None:
    data_dir = tmp_path / "data"
    first = build(config(coco, data_dir))
    before = stamps(data_dir)
    missing, damaged = sorted(before)[:2]
    (data_dir / missing).unlink()
    content = bytearray((data_dir / damaged).read_bytes())
    content[100] ^= 1  # Of the same size: only the digest tells.
    (data_dir / damaged).write_bytes(content)
    assert build(config(coco, data_dir)).digest == first.digest
    after = stamps(data_dir)
    assert {name for name in before if before[name] != after[name]} == {missing, damaged}


def test_other_options_leave_nothing_of_the_build_before(coco, tmp_path) -> None:
    data_dir = tmp_path / "data"
    build(config(coco, data_dir))
    manifest = build(config(coco, data_dir, num_shards=3, test_fraction=0.1, overwrite=True))
    assert {path.name for path in data_dir.glob("*.tfrecord-*")} == {
        shard.file for shard in manifest.shards
    }
    assert read_manifest(data_dir).counts.keys() == {"train", "val", "test"}
    fresh = build(config(coco, tmp_path / "fresh", num_shards=3, test_fraction=0.1))
    assert fresh.digest == manifest.digest


def test_killed_build_resumes_to_the_same_bytes(tmp_path) -> None:
    """`python -m tests.soak.build_kills` does the same many times, at random moments."""
    whole, data_dir = tmp_path / "whole", tmp_path / "killed"
    killed_builds.finish(whole, images=60, num_workers=1)
    for phase, workers, with_workers in (
        ("draw", 1, False), ("shards", 2, True), ("shards", 2, False), ("commit", 1, False),
    ):  # fmt: skip
        kill = killed_builds.Kill(phase, 0.0, with_workers, workers)
        assert killed_builds.strike(kill, data_dir, images=60)
        assert not (data_dir / "manifest.json").exists()
        assert list(data_dir.rglob("*.jpg"))
    killed_builds.finish(data_dir, images=60, num_workers=2)
    assert killed_builds.compare(whole, data_dir) == []
    assert not list(data_dir.rglob("*.incomplete"))


def test_source_split_is_kept(tmp_path) -> None:
    coco = coco_folder.write(tmp_path / "coco", coco_folder.instances(8), name="train2017")
    coco_folder.write(tmp_path / "coco", coco_folder.instances(4), name="val2017")
    manifest = build(config(coco, tmp_path / "data", split_by="source"))
    assert {split: manifest.num_examples(split) for split in manifest.counts} == {
        "train": 8,
        "val": 4,
    }


def test_copies_that_a_source_has_in_two_splits_are_said_and_can_be_left_out(tmp_path) -> None:
    coco = coco_folder.write(tmp_path / "coco", coco_folder.instances(12), name="train2017")
    coco_folder.write(tmp_path / "coco", coco_folder.instances(4), name="val2017")  # The same.
    assert build(config(coco, tmp_path / "data")).near_duplicates == 4
    manifest = build(config(coco, tmp_path / "other", drop_near_duplicates=True))
    assert (manifest.num_examples("train"), manifest.num_examples("val")) == (8, 4)
    assert manifest.near_duplicates == 0


def test_build_that_fails_says_that_it_took_a_dataset_with_it(coco, tmp_path) -> None:
    build(config(coco, tmp_path / "data"))
    (coco / "train2017" / "1.jpg").write_text("<html>")
    with pytest.raises(ValueError, match=r"dataset that was in .* is not complete any more"):
        build(config(coco, tmp_path / "data"))


@pytest.mark.parametrize(
    ("policy", "min_area", "counts", "dropped"),
    [
        # Photograph 1 has a large dog and a small cat; each other one has one animal.
        ("single", 0.0, {"cat": 10, "dog": 9}, {"several_classes": 1}),
        ("largest", 0.0, {"cat": 10, "dog": 10}, {}),
        ("crop", 0.0, {"cat": 11, "dog": 10}, {}),
        ("crop", 0.1, {"cat": 10, "dog": 10}, {"crop_smaller_than_min_area": 1}),
    ],
)
def test_label_policy_decides_the_examples(policy, min_area, counts, dropped, tmp_path) -> None:
    content = coco_folder.instances(20)
    content["annotations"].append(
        {"id": 99, "image_id": 1, "category_id": 17, "bbox": [0, 0, 4, 4]}
    )
    coco = coco_folder.write(tmp_path / "coco", content)
    options = {"label_policy": policy, "min_area": min_area}
    manifest = build(config(coco, tmp_path / "data", **options))
    found = {name: sum(of[name] for of in manifest.counts.values()) for name in ("cat", "dog")}
    assert found == counts
    assert manifest.dropped == dropped


def test_crops_are_read_by_tfds_with_the_animal_in_the_middle(coco, tmp_path) -> None:
    import tensorflow_datasets as tfds

    build(config(coco, tmp_path / "data", label_policy="crop", crop_margin=0.25))
    builder = tfds.builder_from_directory(str(tmp_path / "data"))
    for example in tfds.as_numpy(builder.as_dataset(split="train+val")):
        # 16x12 at (4, 4), widened by 4 and 3 on each side: from (0, 1) to (24, 19), to a pixel.
        assert example["image"].shape[:2] == pytest.approx((18, 24), abs=1)
        [box] = example["objects"]["bbox"]
        assert box.tolist() == pytest.approx([3 / 18, 4 / 24, 15 / 18, 20 / 24])


def test_copies_of_a_photograph_stand_in_one_split(tmp_path) -> None:
    coco = coco_folder.write(tmp_path / "coco", coco_folder.instances(40))
    for number in range(1, 21):  # Under another name, with another id.
        shutil.copy(coco / "train2017" / f"{number}.jpg", coco / "train2017" / f"{number + 20}.jpg")
    build(config(coco, tmp_path / "data"))
    split_of = {}
    for path in (tmp_path / "data" / ".build").glob("*.json"):
        for image_id in json.loads(path.read_text())["image_ids"]:
            split_of[image_id] = path.name.partition(".")[0]
    assert len(split_of) == 40
    assert all(split_of[n] == split_of[n + 20] for n in range(1, 21))
    assert len(set(split_of.values())) == 2


def test_all_takes_every_class_by_name(coco, tmp_path) -> None:
    assert build(config(coco, tmp_path / "data", classes=("all",))).classes == ["cat", "dog"]


def test_annotations_and_images_may_lie_anywhere(coco, tmp_path) -> None:
    (coco / "annotations" / "instances_train2017.json").rename(tmp_path / "labels.json")
    (coco / "train2017").rename(tmp_path / "pictures")
    manifest = build(
        config(
            coco, tmp_path / "data", coco_dir=None, images_dir=str(tmp_path / "pictures"),
            annotations=(str(tmp_path / "labels.json"),),
        )
    )  # fmt: skip
    assert manifest.num_examples("train") == 32


@pytest.mark.parametrize("folders", [("",), ("train/", "val/")])  # cs231n has the latter.
def test_folder_per_class(folders, tmp_path) -> None:
    number = 0
    for folder in folders:
        for name in coco_folder.CLASSES:
            directory = tmp_path / "animals" / folder / name
            directory.mkdir(parents=True)
            for _ in range(6):
                number += 1
                (directory / f"{number}.jpg").write_bytes(coco_folder.jpeg(number))
    manifest = build(
        BuildConfig(
            source="folder", folder_dir=str(tmp_path / "animals"), data_dir=str(tmp_path / "data"),
            classes=coco_folder.CLASSES, split_by="source" if len(folders) > 1 else "hash",
        )
    )  # fmt: skip
    expected = {"train": 6, "val": 6} if len(folders) > 1 else {"train": 5, "val": 1}
    assert manifest.counts == {s: {"cat": n, "dog": n} for s, n in expected.items()}
    header, first, *_ = (tmp_path / "data" / "attribution.csv").read_text().splitlines()
    assert header == "image_id,license,url,source_id"
    assert (tmp_path / "animals" / first.rpartition(",")[2]).is_file()


def test_small_photographs_keep_their_bytes_and_large_ones_shrink(coco, tmp_path) -> None:
    import tensorflow_datasets as tfds

    build(config(coco, tmp_path / "data", image_size=12))
    builder = tfds.builder_from_directory(str(tmp_path / "data"))
    example = next(iter(tfds.as_numpy(builder.as_dataset(split="val"))))
    assert example["image"].shape == (12, 16, 3)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_tasks_in_any_order_make_the_bytes_of_one_build(order, coco, tmp_path) -> None:
    whole = build(config(coco, tmp_path / "whole"))
    data_dir = tmp_path / "tasks"
    for index in order:
        assert not (data_dir / "manifest.json").exists()
        results = build_task(config(coco, data_dir, task_index=index, num_tasks=3))
        assert len(results) in (5, 6)  # Of 16 shards.
    manifest = build(config(coco, data_dir, commit_only=True))
    assert manifest.digest == whole.digest
    assert manifest.counts == whole.counts


def test_commit_names_what_is_missing_and_who_builds_it(coco, tmp_path) -> None:
    data_dir = tmp_path / "data"
    for index in (0, 2):
        build_task(config(coco, data_dir, task_index=index, num_tasks=3))
    task_1_is_missing = "train.tfrecord-00001-of-00008, .*with --task_index=1 in place"
    with pytest.raises(ValueError, match=task_1_is_missing):
        build(config(coco, data_dir, commit_only=True, num_tasks=3))
    with pytest.raises(ValueError, match=r"same command without --commit_only"):
        build(config(coco, data_dir, commit_only=True))
    build_task(config(coco, data_dir, task_index=1, num_tasks=3, image_size=12))  # Other options.
    with pytest.raises(ValueError, match=task_1_is_missing):
        build(config(coco, data_dir, commit_only=True, num_tasks=3))


def test_task_without_a_shard_has_nothing_to_do(coco, tmp_path) -> None:
    assert build_task(config(coco, tmp_path / "data", task_index=98, num_tasks=99)) == []


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        # An annotation that only its own photograph's example shows.
        (lambda content: content["annotations"][0].update(bbox=[4, 4, 20, 12]), 1),
        (lambda content: content["licenses"][0].update(url="elsewhere"), 0),
        (lambda content: None, 0),
    ],
)
def test_changed_annotation_rebuilds_the_shards_that_show_it(
    change, touched, coco, tmp_path
) -> None:
    data_dir = tmp_path / "data"
    build(config(coco, data_dir))
    before = stamps(data_dir)
    content = coco_folder.instances(40)
    change(content)
    coco_folder.write(coco, content)
    manifest = build(config(coco, data_dir))
    after = stamps(data_dir)
    assert sum(before[name] != after[name] for name in before) == touched
    assert manifest.digest == build(config(coco, tmp_path / "fresh")).digest


def test_build_removes_what_killed_ones_left_but_no_file_of_the_user(coco, tmp_path) -> None:
    data_dir = tmp_path / "data"
    (data_dir / ".build").mkdir(parents=True)
    shard = "coco_animals-train.tfrecord-00000-of-00008"
    left = [
        data_dir / f"{shard}.0123abcd.incomplete",
        data_dir / ".build" / f"{shard}.json.ffffffff.incomplete",
    ]
    kept = [data_dir / "notes.incomplete", data_dir / "coco_animals.txt"]
    for path in (*left, *kept):
        path.write_text("x")
    build_task(config(coco, data_dir, task_index=1, num_tasks=16))
    assert all(path.exists() for path in left)  # Perhaps another task is writing them.
    build_task(config(coco, data_dir, task_index=0, num_tasks=16))
    assert not left[0].exists()
    build(config(coco, data_dir))
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize(
    ("data_dir", "command"),
    [
        ("data/cats", "--data_dir=data/cats --workdir=runs/cats"),
        ("s3://b/cats", "--data_dir=s3://b/cats --workdir=runs/cats"),
        ("my cats#1", "'--data_dir=my cats#1' '--workdir=runs/my cats#1'"),
        ("kühe", "'--data_dir=kühe' '--workdir=runs/kühe'"),
    ],
)
def test_next_command_can_be_pasted(data_dir: str, command: str) -> None:
    words = summary.next_command(target.of(data_dir))
    assert words == f"python -m trainer.main {command}"
    assert shlex.split(words)[-2:] == [
        f"--data_dir={data_dir}",
        f"--workdir=runs/{Path(data_dir).name}",
    ]
