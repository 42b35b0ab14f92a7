"""What is drawn is what the annotations say, and depends on the seed alone."""

import collections
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from data_prep.synthetic import dataset
from data_prep.synthetic.animals import DRAW

SMALL = {"image_width": 96, "image_height": 72}
COCO_IDS = {
    **{"bird": 16, "cat": 17, "dog": 18, "horse": 19, "sheep": 20},
    **{"bear": 23, "zebra": 24, "giraffe": 25},
}
NAMES = {i: name for name, i in COCO_IDS.items()}


def read_files(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def read_annotations(directory, split):
    return json.loads((directory / "annotations" / f"instances_{split}.json").read_text())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """80 small images: two decks of 40, so each special kind is there twice."""
    directory = tmp_path_factory.mktemp("drawn")
    dataset.write_coco(directory, num_images=80, seed=3, **SMALL)
    return directory


@pytest.fixture(scope="module")
def merged(drawn):
    """Both splits' images and annotations."""
    splits = [read_annotations(drawn, split) for split in ("train2017", "val2017")]
    return {key: splits[0][key] + splits[1][key] for key in ("images", "annotations")}


def test_same_seed_gives_the_same_bytes(drawn, tmp_path):
    dataset.write_coco(tmp_path, num_images=80, seed=3, **SMALL)
    assert read_files(tmp_path) == read_files(drawn)


def test_other_seed_gives_other_images(drawn, tmp_path):
    dataset.write_coco(tmp_path, num_images=8, seed=4, **SMALL)
    ours, theirs = read_files(tmp_path), read_files(drawn)
    same = [name for name in ours if name.endswith(".jpg") and ours[name] == theirs.get(name)]
    assert not same


def test_an_image_does_not_depend_on_how_many_there_are(drawn, merged, tmp_path):
    dataset.write_coco(tmp_path, num_images=13, seed=3, **SMALL)
    few, many = read_files(tmp_path), read_files(drawn)
    jpegs = [name for name in few if name.endswith(".jpg")]
    assert len(jpegs) == 13
    assert all(few[name] == many[name] for name in jpegs)
    for split in ("train2017", "val2017"):
        for annotation in read_annotations(tmp_path, split)["annotations"]:
            assert annotation in merged["annotations"]


def test_layout_and_records_are_cocos(drawn):
    for split, num_images in (("train2017", 64), ("val2017", 16)):
        content = read_annotations(drawn, split)
        assert content.keys() == {"info", "licenses", "images", "annotations", "categories"}
        assert len(content["images"]) == num_images
        assert {image["license"] for image in content["images"]} == {content["licenses"][0]["id"]}
        ids = {category["name"]: category["id"] for category in content["categories"]}
        assert ids == {**COCO_IDS, "person": 1, "cow": 21, "elephant": 22}
        files = {path.name for path in (drawn / split).iterdir()}
        assert files == {image["file_name"] for image in content["images"]}
        for image in content["images"]:
            assert image["file_name"] == f"{image['id']:012d}.jpg"
            with Image.open(drawn / split / image["file_name"]) as photograph:
                assert photograph.size == (image["width"], image["height"]) == (96, 72)
                assert photograph.mode == "RGB"


def test_ids_are_unique_over_both_splits(merged):
    for key in ("images", "annotations"):
        ids = [record["id"] for record in merged[key]]
        assert len(set(ids)) == len(ids)
    assert {one["image_id"] for one in merged["annotations"]} == {i + 1 for i in range(80)}


def test_classes_are_balanced_in_each_split(drawn):
    for split, per_class in (("train2017", 8), ("val2017", 2)):
        first = {}
        for annotation in read_annotations(drawn, split)["annotations"]:
            first.setdefault(annotation["image_id"], NAMES[annotation["category_id"]])
        assert collections.Counter(first.values()) == dict.fromkeys(dataset.CLASSES, per_class)


def test_special_kinds_give_the_label_policies_work(merged):
    of_image = collections.defaultdict(list)
    for annotation in merged["annotations"]:
        of_image[annotation["image_id"]].append(annotation)
    crowds = [a for a in merged["annotations"] if a["iscrowd"]]
    tiny = [a for a in merged["annotations"] if a["area"] < 0.02 * 96 * 72]
    pairs = [a for a in of_image.values() if len(a) == 2 and not any(x["iscrowd"] for x in a)]
    mixed = [a for a in pairs if a[0]["category_id"] != a[1]["category_id"]]
    assert (len(crowds), len(tiny), len(pairs), len(mixed)) == (2, 2, 6, 4)
    assert sum(len(a) == 1 for a in of_image.values()) == 80 - 6 - 2


def test_boxes_lie_in_the_image_and_hold_the_area(merged):
    for annotation in merged["annotations"]:
        x, y, w, h = annotation["bbox"]
        assert 0 <= x < x + w <= 96, annotation["id"]
        assert 0 <= y < y + h <= 72, annotation["id"]
        assert 0 < annotation["area"] <= w * h, annotation["id"]


def decode(segmentation, height, width):
    """Returns the bool mask of polygons, or of an uncompressed run-length code."""
    if isinstance(segmentation, dict):
        values = np.arange(len(segmentation["counts"])) % 2 == 1
        return np.repeat(values, segmentation["counts"]).reshape((height, width), order="F")
    mask = Image.new("1", (width, height))
    for corners in segmentation:
        ImageDraw.Draw(mask).polygon(corners, fill=1)
    return np.asarray(mask)


def test_boxes_areas_and_segmentations_are_those_of_the_drawn_pixels():
    for index in range(40):
        image, instances = dataset.draw_image(seed=1, index=index, width=160, height=120)
        assert image.size == (160, 120)
        for number, instance in enumerate(instances):
            record = dataset._annotation(instance, image_id=index + 1, number=number)
            x, y, w, h = record["bbox"]
            inside = np.zeros_like(instance.mask)
            inside[y : y + h, x : x + w] = True
            edges = (instance.mask[y], instance.mask[y + h - 1])
            edges += (instance.mask[:, x], instance.mask[:, x + w - 1])
            assert not (instance.mask & ~inside).any()
            assert all(edge.any() for edge in edges)
            assert record["area"] == instance.mask.sum()
            segmentation = decode(record["segmentation"], 120, 160)
            if record["iscrowd"]:
                np.testing.assert_array_equal(segmentation, instance.mask)
            else:
                overlap = (segmentation & instance.mask).sum()
                assert overlap > 0.98 * instance.mask.sum()
                # Pillow fills polygons half a pixel beyond their edge.
                assert segmentation.sum() < 1.2 * instance.mask.sum() + 60


def test_pixels_of_a_zebra_are_black_and_white():
    """The mask lies where the animal is: a shifted one would hold grass and sky."""
    rng = np.random.default_rng(0)
    canvas = Image.new("RGB", (200, 200), (0, 255, 0))
    zebra = DRAW["zebra"](rng).moved(np.diag((1.5, -1.5)), (20, 190))
    mask = np.asarray(zebra.paint(canvas)) > 127
    green = (np.asarray(canvas) == (0, 255, 0)).all(axis=-1)
    np.testing.assert_array_equal(green, ~mask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_images": 0}, "Received: num_images=0."),
        ({"num_images": -3}, "Received: num_images=-3."),
        ({"num_images": 1, "image_height": 8}, "Received: image_width=320, image_height=8."),
    ],
)
def test_options_that_draw_nothing_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        dataset.write_coco(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_every_animal_has_its_drawing():
    assert tuple(DRAW) == dataset.CLASSES
