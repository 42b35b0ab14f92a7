"""The real photographs, where they are: what the project exists for."""

import json
from pathlib import Path

import pytest

from data_prep.build import build
from data_prep.config import BuildConfig


@pytest.fixture(scope="module")
def coco(shared: Path) -> Path:
    return shared / "coco_animals"


def options(coco: Path, data_dir: Path, **changes: object) -> BuildConfig:
    return BuildConfig(source="coco", coco_dir=str(coco), data_dir=str(data_dir), **changes)


def test_two_workers_build_the_bytes_of_one(coco, tmp_path) -> None:
    one = build(options(coco, tmp_path / "one", min_area=0.02, num_workers=1))
    two = build(options(coco, tmp_path / "two", min_area=0.02, num_workers=2))
    assert one.digest == two.digest
    assert sum(map(one.num_examples, one.counts)) == 262
    assert one.rejected == 0


def test_tfds_reads_every_photograph_with_the_label_of_its_annotations(coco, tmp_path) -> None:
    import tensorflow_datasets as tfds

    manifest = build(options(coco, tmp_path))
    expected: dict[str, set[str]] = {}
    for file in (coco / "annotations").glob("*.json"):
        content = json.loads(file.read_text())
        names = {c["id"]: c["name"] for c in content["categories"]}
        files = {image["id"]: image["file_name"] for image in content["images"]}
        for annotation in content["annotations"]:
            if names[annotation["category_id"]] in manifest.classes:
                name = files[annotation["image_id"]]
                expected.setdefault(name, set()).add(names[annotation["category_id"]])
    single = {name: classes.pop() for name, classes in expected.items() if len(classes) == 1}

    builder = tfds.builder_from_directory(str(tmp_path))
    found = {}
    for split in builder.info.splits:
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            assert min(example["image"].shape[:2]) <= 256
            name = example["image/filename"].decode()
            found[name] = builder.info.features["label"].names[example["label"]]
    assert found == single
