"""The exports of labelling tools are recognised, built, and split as they were."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.build import build
from data_prep.config import BuildConfig
from data_prep.sources import coco, coco_layouts
from data_prep.sources.trees import Tree
from tests.support.coco_folder import instances, jpeg

Rename = Callable[[str], str]


def export(
    path: Path, folder: Path, count: int, rename: Rename = lambda name: name, **changes: Any
) -> None:
    """Writes an annotation file and its photographs, by the names that `rename` gives them."""
    content = instances(count) | changes
    for number, image in enumerate(content["images"]):
        photograph = folder / image["file_name"]
        photograph.parent.mkdir(parents=True, exist_ok=True)
        photograph.write_bytes(jpeg(seed(path, number)))
        image["file_name"] = rename(image["file_name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def seed(path: Path, number: int) -> int:
    """Other content in each annotation file, the same on every run."""
    return 1000 * len(path.parent.name) + number


def cvat(root: Path) -> None:
    export(root / "annotations" / "instances_default.json", root / "images", 10)


def cvat_in_subset(root: Path) -> None:
    export(root / "annotations" / "instances_default.json", root / "images" / "default", 10)


def cvat_nested(root: Path) -> None:
    images = instances(10)["images"]
    for image in images:
        image["file_name"] = f"camera {image['id'] % 2}/day/{image['file_name']}"
    export(root / "annotations" / "instances_default.json", root / "images", 10, images=images)


def label_studio(prefix: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        export(root / "result.json", root / "images", 10, lambda name: prefix + name)

    return write


def roboflow(root: Path) -> None:
    group = [{"id": 0, "name": "animals", "supercategory": "none"}]
    categories = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    for folder, count in {"train": 10, "valid": 4, "test": 2}.items():
        file = root / folder / "_annotations.coco.json"
        export(file, root / folder, count, categories=group + categories)


EXPORTS = {
    "CVAT": (cvat, "CVAT"),
    "CVAT, default subset": (cvat_in_subset, "CVAT"),
    "CVAT, nested folders": (cvat_nested, "CVAT"),
    "Label Studio": (label_studio("images/"), "Label Studio"),
    "Label Studio, bare": (label_studio(""), "Label Studio"),
    "Label Studio on Windows": (label_studio("images\\"), "Label Studio"),
    "Label Studio, local files": (label_studio("../../label-studio/data/images/"), "Label Studio"),
    "Label Studio, uploads": (label_studio("/data/upload/1/"), "Label Studio"),
    "Roboflow": (roboflow, "Roboflow"),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_export_is_recognised_and_every_photograph_found(name: str, tmp_path: Path) -> None:
    write, tool = EXPORTS[name]
    write(tmp_path)
    source = coco.read_coco_dir(str(tmp_path), ("all",))
    assert source.classes == ("cat", "dog")
    assert source.description.startswith(f"{tool}: {len(source.photographs)} photographs in ")
    assert len(source.photographs) == (16 if tool == "Roboflow" else 10)
    assert all(Path(p.path).is_file() for p in source.photographs)
    assert len({p.file for p in source.photographs}) == len(source.photographs)
    assert all((tmp_path / p.file).samefile(p.path) for p in source.photographs)


def test_roboflows_splits_are_kept(tmp_path: Path) -> None:
    roboflow(tmp_path / "export")
    manifest = build(
        BuildConfig(
            source="coco", coco_dir=str(tmp_path / "export"), data_dir=str(tmp_path / "data"),
            classes=("all",), split_by="source", num_workers=1,
        )
    )  # fmt: skip
    assert manifest.counts == {
        "train": {"cat": 5, "dog": 5}, "val": {"cat": 2, "dog": 2}, "test": {"cat": 1, "dog": 1},
    }  # fmt: skip


def test_same_name_in_two_folders_is_two_rejections(tmp_path: Path) -> None:
    roboflow(tmp_path / "export")
    for folder in ("train", "valid"):
        (tmp_path / "export" / folder / "1.jpg").write_bytes(b"")
    manifest = build(
        BuildConfig(
            source="coco", coco_dir=str(tmp_path / "export"), data_dir=str(tmp_path / "data"),
            classes=("all",), max_bad_fraction=0.2, num_workers=1,
        )
    )  # fmt: skip
    assert manifest.rejected == 2
    lines = (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["file"] for line in lines] == ["train/1.jpg", "valid/1.jpg"]


def test_what_was_looked_for_is_listed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match="coco_dir holds no") as error:
        coco_layouts.recognise(Tree(str(tmp_path)))
    for tool in ("COCO", "CVAT", "Label Studio", "Roboflow"):
        assert tool in str(error.value)


def rename(file: Path, to: Rename) -> None:
    content = json.loads(file.read_text())
    for image in content["images"]:
        image["file_name"] = to(image["file_name"])
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "name",
    [
        "{folder}/{name}",  # As the machine that labelled them knows them.
        "{folder}/../photos/{name}",
        "{link}/{name}",
        "photos/{name}",
        "./photos/{name}",
        "sub/photos/{name}",
        "photos\\{name}",
        "./{name}",
    ],
)
def test_path_that_leads_into_the_image_folder_is_one_below_it(name: str, tmp_path: Path) -> None:
    folder, link = tmp_path / "sub" / "photos", tmp_path / "link"
    file = tmp_path / "annotations.json"
    export(file, folder, 10)
    link.symlink_to(folder)
    rename(file, lambda n: name.format(folder=folder, link=link, name=n))
    source = coco.read_annotations([str(file)], str(folder), ("cat", "dog"))
    assert [p.name for p in source.photographs] == [f"{i}.jpg" for i in range(1, 11)]
    assert all(Path(p.path).is_file() for p in source.photographs)


def test_folder_of_the_folders_name_is_not_taken_for_it(tmp_path: Path) -> None:
    folder, file = tmp_path / "photos", tmp_path / "annotations.json"
    export(file, folder / "photos", 10)
    rename(file, lambda name: f"photos/{name}")
    source = coco.read_annotations([str(file)], str(folder), ("cat", "dog"))
    assert source.photographs[0].name == "photos/1.jpg"


@pytest.mark.parametrize("name", ["{outside}/{name}", "{folder}/../{name}", "{folder}2/{name}"])
def test_path_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    folder, file = tmp_path / "photos", tmp_path / "annotations.json"
    export(file, folder, 10)
    outside = tmp_path / "outside"
    outside.mkdir()
    rename(file, lambda n: name.format(folder=folder, outside=outside, name=n))
    with pytest.raises(ValueError, match="must stay inside the image folder"):
        coco.read_annotations([str(file)], str(folder), ("cat", "dog"))


def test_name_that_no_disk_can_hold_is_one_photograph_that_is_not_there(tmp_path: Path) -> None:
    cvat(tmp_path)
    file = tmp_path / "annotations" / "instances_default.json"
    rename(file, lambda name: "x" * 300 + name if name == "1.jpg" else name)
    photographs = coco.read_coco_dir(str(tmp_path), ("all",)).photographs
    assert all(Path(p.path).is_file() for p in photographs[1:])


@pytest.mark.parametrize("place", ["result.json", "elsewhere.json"])
def test_label_studios_boxes_stand_on_the_photograph_as_it_is_shown(
    place: str, tmp_path: Path
) -> None:
    """It measures shares of the upright photograph and multiplies them by the stored sides."""
    info = {"contributor": "Label Studio"}  # As every export of it says, whatever its name.
    root = tmp_path / "export"
    export(root / place, root / "images", 10, info=info if place != "result.json" else {})
    for path in (root / "images").iterdir():
        path.write_bytes(jpeg(int(path.stem), orientation=6))
    whole = {"coco_dir": str(root)}
    parts = {"annotations": (str(root / place),), "images_dir": str(root / "images")}
    build(
        BuildConfig(
            source="coco", data_dir=str(tmp_path / "data"), classes=("all",), num_workers=1,
            **(whole if place == "result.json" else parts),
        )
    )  # fmt: skip
    boxes = [box for shard in examples(tmp_path / "data") for box in shard]
    assert boxes == [pytest.approx((4 / 24, 4 / 32, 16 / 24, 20 / 32))] * 10


def examples(data_dir: Path) -> list[list[tuple[float, ...]]]:
    """The corners of the boxes that each example stores."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(data_dir)
    return [
        [tuple(float(x) for x in box) for box in example["objects"]["bbox"]]
        for split in builder.info.splits
        for example in tfds.as_numpy(builder.as_dataset(split=split))
    ]
