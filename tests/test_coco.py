"""COCO annotation files become photographs with boxes in shares of the image."""

import json
import shutil
from pathlib import Path

import pytest

from data_prep.sources import coco
from data_prep.sources.photographs import Photograph, Source
from tests.support.coco_folder import CLASSES, instances, jpeg, write
from tfrecords.schema import Box

BOM = "\ufeff"


def read(root: Path, classes: tuple[str, ...] = CLASSES) -> Source:
    return coco.read_coco_dir(str(root), classes)


def first(root: Path, content: dict[str, object]) -> Photograph:
    return read(write(root, content)).photographs[0]


def test_photograph_has_all_that_the_file_says_of_it(tmp_path: Path) -> None:
    content = instances()
    content["images"][0] |= {"coco_url": "https://example.org/c", "flickr_url": ""}
    photograph = first(tmp_path, content)
    assert Path(photograph.path).read_bytes() == jpeg(0)
    assert (photograph.name, photograph.image_id) == ("1.jpg", 1)
    assert (photograph.size, photograph.source_split) == ((32, 24), "train")
    assert photograph.license == "https://example.org/cc0"
    assert photograph.url == "https://example.org/c"
    [dog] = photograph.objects
    assert (dog.label, dog.is_crowd) == (CLASSES.index("dog"), False)
    assert dog.area == pytest.approx(150 / (32 * 24))  # The mask's, smaller than the box's.


@pytest.mark.parametrize(
    ("bbox", "box"),
    [
        ([8, 6, 16, 12], Box(ymin=0.25, xmin=0.25, ymax=0.75, xmax=0.75)),
        ([0, 0, 32, 24], Box(0, 0, 1, 1)),
        ([-8, -6, 24, 18], Box(0, 0, 0.5, 0.5)),  # What lies outside is cut off.
        ([16, 12, 999, 999], Box(0.5, 0.5, 1, 1)),
        ([0, 0, 1e308, 1e308], Box(0, 0, 1, 1)),
        # Outside, of no size, inverted, or overflowing: no box at all.
        ([32, 0, 8, 8], None),
        ([0, -9, 8, 9], None),
        ([4, 4, 0, 8], None),
        ([4, 4, 8, -2], None),
        ([1e308, 1e308, 1e308, 1e308], None),
    ],
)
def test_box_becomes_shares_inside_the_image(bbox, box, tmp_path: Path) -> None:
    content = instances()
    content["annotations"][0]["bbox"] = bbox
    source = read(write(tmp_path, content))
    assert [o.box for o in source.photographs[0].objects] == ([box] if box else [])
    bad = [] if box else [("train2017/1.jpg", 1)]
    assert [(r.file, r.annotation_id) for r in source.bad_boxes] == bad


@pytest.mark.parametrize(
    ("area", "share"), [(None, 0.25), (0, 0.0), (-5, 0.0), (192, 0.25), (1e300, 1.0)]
)
def test_area_is_a_share_and_the_boxs_where_there_is_no_mask(area, share, tmp_path: Path) -> None:
    content = instances()
    content["annotations"][0]["area"] = area
    assert first(tmp_path, content).objects[0].area == share


def test_crowds_and_other_classes(tmp_path: Path) -> None:
    content = instances()
    content["annotations"][0]["iscrowd"] = 1
    source = read(write(tmp_path, content), ("dog",))
    assert source.photographs[0].objects[0].is_crowd
    # A cat is no instance of the classes, but its photograph stays to be judged.
    assert [len(p.objects) for p in source.photographs] == [1, 0] * 5


def test_label_follows_the_order_that_was_asked_for(tmp_path: Path) -> None:
    write(tmp_path)
    for classes in (("cat", "dog"), ("dog", "cat")):
        labels = [p.objects[0].label for p in read(tmp_path, classes).photographs[:2]]
        assert [classes[label] for label in labels] == ["dog", "cat"]


def test_all_takes_every_category_with_an_instance_in_alphabetical_order(tmp_path: Path) -> None:
    content = instances()
    # Ids need not follow each other; a group that no annotation uses is no class (Roboflow's id 0).
    content["categories"] += [{"id": 98, "name": "ape"}, {"id": 0, "name": "animals"}]
    content["annotations"][0]["category_id"] = 98
    assert read(write(tmp_path, content), ("all",)).classes == ("ape", "cat", "dog")


@pytest.mark.parametrize(
    "folder",
    [
        "train2017",
        "images/train2017",
        "images",
        ".",  # Beside the folder of annotations.
    ],
)
def test_photographs_are_found_where_datasets_keep_them(folder: str, tmp_path: Path) -> None:
    root = write(tmp_path / "coco")
    photographs = (root / "train2017").rename(tmp_path / "photographs")
    shutil.copytree(photographs, root / folder, dirs_exist_ok=True)
    assert all(Path(p.path).is_file() for p in read(root).photographs)


def test_link_to_a_photograph_is_a_photograph(tmp_path: Path) -> None:
    root = write(tmp_path / "coco")
    photographs = (root / "train2017").rename(tmp_path / "elsewhere")
    (root / "train2017").mkdir()
    for path in photographs.iterdir():
        (root / "train2017" / path.name).symlink_to(path)
    assert all(Path(p.path).is_file() for p in read(root).photographs)


def test_files_are_read_together_each_with_its_split(tmp_path: Path) -> None:
    write(tmp_path, instances(4), "train2017")
    write(tmp_path, instances(2), "val2017")  # The same ids again, which are unique to a file.
    photographs = read(tmp_path).photographs
    assert [p.source_split for p in photographs] == ["train"] * 4 + ["val"] * 2
    assert photographs[-1].path == str(tmp_path / "val2017" / "2.jpg")


def write_beside(root: Path, content: dict[str, object], name: str) -> None:
    """Writes an annotation file whose photographs lie in a folder with those of others."""
    write(root, content, name)
    shutil.copytree(root / name, root / "images", dirs_exist_ok=True)
    shutil.rmtree(root / name)


def test_files_of_one_class_each_are_joined(tmp_path: Path) -> None:
    """The same photographs stand in both; one of them shows both classes."""
    content = instances(4)
    both = {"id": 9, "image_id": 1, "category_id": 17, "bbox": [0, 0, 4, 4], "area": 16}
    for name, category in (("cats_train", 17), ("dogs_train", 18)):
        of_class = [a for a in [*content["annotations"], both] if a["category_id"] == category]
        write_beside(tmp_path, content | {"annotations": of_class}, name)
    source = read(tmp_path)
    assert [p.name for p in source.photographs] == [f"{i}.jpg" for i in range(1, 5)]
    assert [len(p.objects) for p in source.photographs] == [2, 1, 1, 1]
    assert "4 stand in two of these files" in source.description


@pytest.mark.parametrize(("second", "listed"), [("b_train", 4), ("b_val", 8)])
def test_what_two_files_of_a_split_repeat_counts_once(second, listed, tmp_path: Path) -> None:
    for name in ("a_train", second):
        write_beside(tmp_path, instances(4), name)
    source = read(tmp_path)
    assert len(source.photographs) == listed
    assert [len(p.objects) for p in source.photographs] == [1] * listed


def test_annotations_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path) / "annotations" / "instances_train2017.json"
    path.write_text(BOM + path.read_text())
    assert len(read(tmp_path).photographs) == 10


@pytest.mark.parametrize(
    "name",
    [
        "../x.jpg", "a/../../x.jpg", "..\\x.jpg", "/x.jpg", "\\x.jpg", "", ".", "a/..", "x\0.jpg",
    ],
)  # fmt: skip
def test_file_name_that_leaves_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    content = instances()
    root = write(tmp_path, content)
    for image in content["images"]:
        image["file_name"] = name
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must stay inside the image folder") as error:
        read(root)
    assert repr(name) in str(error.value)


def test_file_name_may_name_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "train2017" / "a..b").mkdir(parents=True)
    content = instances()
    content["images"][0]["file_name"] = "a..b/1.jpg"
    assert first(tmp_path, content).name == "a..b/1.jpg"


def test_annotations_that_belong_to_nothing_are_counted(tmp_path: Path) -> None:
    content = instances()
    content["annotations"][0]["image_id"] = 99
    content["annotations"][1]["category_id"] = 99
    content["annotations"][2]["category_id"] = 99
    source = read(write(tmp_path, content))
    assert source.dropped == {
        "annotation_of_unknown_image": 1,
        "annotation_of_unknown_category": 2,
    }
    assert [len(p.objects) for p in source.photographs] == [0, 0, 0] + [1] * 7
