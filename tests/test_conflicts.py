"""One photograph under two labels is named and left out, wherever the second label stands."""

import json
import shutil
from pathlib import Path

import pytest

from data_prep.build import build
from data_prep.config import BuildConfig
from data_prep.verification import verify
from tests.support import coco_folder
from tfrecords.manifest import read_manifest


def class_folders(root: Path) -> dict[str, str]:
    """Twelve photographs, of which one stands in both folders."""
    for number in range(12):
        folder = root / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(coco_folder.jpeg(number))
    shutil.copy(root / "cat" / "0.jpg", root / "dog" / "again.jpg")
    return {"folder_dir": str(root)}


def two_files(root: Path) -> dict[str, str]:
    """A copy under another name and id has the other label."""
    coco_folder.write(root, coco_folder.instances(13))
    shutil.copy(root / "train2017" / "2.jpg", root / "train2017" / "13.jpg")
    return {"coco_dir": str(root)}


def two_ids(root: Path) -> dict[str, str]:
    """One file is listed twice."""
    content = coco_folder.instances(13)
    coco_folder.write(root, content)
    content["images"][12]["file_name"] = "2.jpg"
    path = root / "annotations" / "instances_train2017.json"
    path.write_text(json.dumps(content))
    return {"coco_dir": str(root)}


def config(given: dict[str, str], data_dir: Path, **options: object) -> BuildConfig:
    return BuildConfig(
        data_dir=str(data_dir), classes=coco_folder.CLASSES, num_workers=1, **given, **options
    )


@pytest.mark.parametrize("write", [class_folders, two_files, two_ids])
def test_photograph_under_two_labels_is_left_out_and_named(write, tmp_path: Path) -> None:
    given = write(tmp_path / "source")
    manifest = build(config(given, tmp_path / "data"))
    assert sum(map(manifest.num_examples, manifest.counts)) == 11
    assert manifest.dropped == {"two_labels": 2}
    lines = (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()
    reasons = [json.loads(line)["reason"] for line in lines]
    assert len(reasons) == 2
    assert all(reason.startswith("two labels: ") for reason in reasons)
    assert any("cat here, dog in" in reason for reason in reasons)
    assert verify(tmp_path / "data", manifest, num_workers=1) == []


def test_keep_keeps_both_and_error_names_the_first(tmp_path: Path) -> None:
    given = class_folders(tmp_path / "source")
    kept = build(config(given, tmp_path / "data", conflicts="keep"))
    assert sum(map(kept.num_examples, kept.counts)) == 13
    with pytest.raises(ValueError, match=r"cat/0.jpg: two labels: cat here, dog in dog/again.jpg"):
        build(config(given, tmp_path / "other", conflicts="error"))


def test_verifier_finds_what_an_older_build_let_through(tmp_path: Path) -> None:
    given = class_folders(tmp_path / "source")
    manifest = build(config(given, tmp_path / "data", conflicts="keep"))
    assert verify(tmp_path / "data", manifest, num_workers=1) == []  # It was asked for.
    del manifest.options["conflicts"]
    [finding] = verify(tmp_path / "data", manifest, num_workers=1)
    assert "labelled" in finding
    assert "cat/0.jpg" in finding
    assert "dog/again.jpg" in finding


def test_copies_with_one_label_and_crops_with_two_are_no_conflict(tmp_path: Path) -> None:
    content = coco_folder.instances(12)
    content["annotations"].append(
        {"id": 99, "image_id": 1, "category_id": 17, "bbox": [8, 8, 8, 8], "area": 60}
    )
    coco = coco_folder.write(tmp_path / "coco", content)
    shutil.copy(coco / "train2017" / "2.jpg", coco / "train2017" / "4.jpg")
    build(config({"coco_dir": str(coco)}, tmp_path / "data", label_policy="crop"))
    assert read_manifest(tmp_path / "data").dropped == {}


def test_nearly_the_same_crop_under_two_labels_is_a_conflict(tmp_path: Path) -> None:
    content = coco_folder.instances(12)
    content["annotations"].append(
        {"id": 99, "image_id": 1, "category_id": 17, "bbox": [4, 4, 16, 12.5], "area": 150}
    )
    coco = coco_folder.write(tmp_path / "coco", content)
    manifest = build(config({"coco_dir": str(coco)}, tmp_path / "data", label_policy="crop"))
    assert manifest.dropped == {"two_labels": 2}


def test_contradicted_label_stays_out_though_the_other_class_is_left_out(tmp_path: Path) -> None:
    """A doubtful cat is no certain one because the rest of the doubt was too rare to keep."""
    class_folders(tmp_path / "animals")
    (tmp_path / "animals" / "unsure").mkdir()
    shutil.copy(tmp_path / "animals" / "cat" / "2.jpg", tmp_path / "animals" / "unsure")
    given = {"folder_dir": str(tmp_path / "animals"), "data_dir": str(tmp_path / "data")}
    manifest = build(BuildConfig(num_workers=1, **given))
    assert manifest.classes == ["cat", "dog"]
    assert manifest.dropped == {"two_labels": 4, "rare_class": 1}
    named = (tmp_path / "data" / "rejected.jsonl").read_text()
    assert "cat/2.jpg" in named
    assert "unsure/2.jpg" in named
