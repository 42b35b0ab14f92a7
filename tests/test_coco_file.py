"""Annotation files as tools write them say the same as the one that COCO would have written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from data_prep.build import build
from data_prep.config import BuildConfig
from data_prep.sources import coco, coco_file
from data_prep.sources.photographs import Photograph, Source, hashed_id
from tests.support.coco_folder import CLASSES, instances, jpeg, write
from tfrecords.manifest import Manifest

Change = Callable[[dict[str, Any]], object]
NAN = float("nan")
UUID = "0b2f6c1e-7a52-4a53-9d4b-5d0c2e3a9f10"


def each(kind: str, **changes: Any) -> Change:
    """Changes every entry of a list; a function makes the new value from the old one."""

    def change(content: dict[str, Any]) -> None:
        for entry in content[kind]:
            for key, new in changes.items():
                entry[key] = new(entry.get(key)) if callable(new) else new

    return change


def one(kind: str, **changes: Any) -> Change:
    return lambda content: content[kind][0].update(changes)


def without(kind: str, *keys: str) -> Change:
    return lambda content: [entry.pop(key, None) for entry in content[kind] for key in keys]


def all_of(*changes: Change) -> Change:
    return lambda content: [change(content) for change in changes]


def read(root: Path, content: Any, classes: tuple[str, ...] = CLASSES) -> Source:
    return coco.read_coco_dir(str(write(root, content)), classes)


def said(source: Source) -> list[tuple[Any, ...]]:
    return [(p.name, p.image_id, p.size, p.objects, p.license, p.url) for p in source.photographs]


SAME = {
    "licences without id": lambda c: c["licenses"].append({"id": None, "name": None, "url": None}),
    "a licence that is none": lambda c: c["licenses"].append(None),
    "unknown licence": each("images", license=lambda _: 1.0),
    "no addresses": each("images", coco_url=None, flickr_url=None, date_captured=None),
    "addresses that are numbers": each("images", coco_url=0, flickr_url=NAN),
    "no info": lambda c: c.update(info=None),
    "info that is text": lambda c: c.update(info="made by hand"),
    "no segmentation": each("annotations", segmentation=None),
    "NaN in a segmentation": each("annotations", segmentation=[[NAN, float("inf")]]),
    "no iscrowd": without("annotations", "iscrowd"),
    "iscrowd null": each("annotations", iscrowd=None),
    "iscrowd false": each("annotations", iscrowd=False),
    "iscrowd as text": each("annotations", iscrowd="0"),
    "iscrowd as a word": each("annotations", iscrowd="False"),
    "iscrowd 0.0": each("annotations", iscrowd=0.0),
    "area as text": each("annotations", area=str),
    "whole floats": all_of(
        each("images", id=float, width=float, height=float),
        each("annotations", id=float, image_id=float, category_id=float),
        each("categories", id=float),
    ),
    "numbers as text": all_of(
        each("images", id=str, width=str, height=str),
        each("annotations", id=str, image_id=str, category_id=str),
        each("categories", id=str),
    ),
    "text joined to numbers": each("annotations", image_id=str),
    "floats as text joined to numbers": each("annotations", image_id=lambda i: f"{i}.0"),
    "boxes as text": each("annotations", bbox=lambda bbox: [str(x) for x in bbox]),
    "categories by name": all_of(
        each("annotations", category_id=lambda i: f"c{i}"), each("categories", id=lambda i: f"c{i}")
    ),
    "annotations without ids": without("annotations", "id"),
    "annotations of one id": each("annotations", id=0),
    "annotations with null ids": each("annotations", id=None),
    "annotations with text ids": each("annotations", id=lambda i: f"{UUID}{i}"),
    "one annotation twice": one("annotations", id=2),
    "no sizes": without("images", "width", "height"),
    "sizes null": each("images", width=None),
    "sizes 0": each("images", height=0),
    "sizes below 0": each("images", width=-1, height=-1),
    "sizes NaN": each("images", width=NAN, height=NAN),
    "sizes that are blank": each("images", width="", height=""),
    "one size missing": one("images", width=None),
    "an image repeated": lambda c: c["images"].append(dict(c["images"][0])),
    "a category repeated": lambda c: c["categories"].append(dict(c["categories"][0])),
    "a category without a name": lambda c: c["categories"].append({"id": 99, "name": None}),
    "a path with a detour": one("images", file_name="./sub/../1.jpg"),
}


@pytest.mark.parametrize("name", SAME)
def test_what_tools_write_otherwise_says_the_same(name: str, tmp_path: Path) -> None:
    content = instances()
    SAME[name](content)
    source = read(tmp_path / "tool", content)
    assert said(source) == said(read(tmp_path / "coco", instances()))
    assert not source.bad_boxes
    assert not source.dropped


@pytest.mark.parametrize("crowd", [True, "1", "true", 1.0])
def test_crowd_is_a_crowd_however_it_is_written(crowd: object, tmp_path: Path) -> None:
    content = instances()
    one("annotations", iscrowd=crowd)(content)
    crowds = [p.objects[0].is_crowd for p in read(tmp_path, content).photographs]
    assert crowds == [True] + [False] * 9


@pytest.mark.parametrize("licenses", [None, "", {}, "missing"])
def test_file_without_licences_licenses_nothing(licenses: object, tmp_path: Path) -> None:
    content = instances() | {"licenses": licenses}
    if licenses == "missing":
        del content["licenses"]
    assert {p.license for p in read(tmp_path, content).photographs} == {""}


@pytest.mark.parametrize("area", [NAN, "unknown", [1]])
def test_area_that_is_no_number_is_the_boxs(area: object, tmp_path: Path) -> None:
    content = instances()
    one("annotations", area=area)(content)
    assert read(tmp_path, content).photographs[0].objects[0].area == 0.25


def test_text_ids_become_numbers_that_do_not_depend_on_other_images(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        each("images", id=lambda i: f"{UUID}{i}")(content)
        each("annotations", image_id=lambda i: f"{UUID}{i}")(content)

    few, many = instances(2), instances(9)
    change(few)
    change(many)
    source = read(tmp_path / "many", many)
    photographs = source.photographs
    assert [p.image_id for p in photographs] == [hashed_id(f"{UUID}{i}") for i in range(1, 10)]
    assert [p.source_id for p in photographs] == [f"{UUID}{i}" for i in range(1, 10)]
    assert all(0 <= p.image_id < 2**63 and len(p.objects) == 1 for p in photographs)
    assert said(read(tmp_path / "few", few)) == said(source._replace(photographs=photographs[:2]))


def test_padded_id_joins_its_number_and_is_kept_as_it_was(tmp_path: Path) -> None:
    content = instances()
    each("images", id=lambda i: f"{i:012}")(content)
    photographs = read(tmp_path, content).photographs
    assert [(p.image_id, p.source_id, len(p.objects)) for p in photographs[:2]] == [
        (1, "000000000001", 1), (2, "000000000002", 1),
    ]  # fmt: skip


BAD = {
    "null": (one("annotations", bbox=None), 1, "box is not four numbers: null"),
    "empty": (one("annotations", bbox=[]), 1, "box is not four numbers: []"),
    "three numbers": (one("annotations", bbox=[4, 4, 8]), 1, "box is not four numbers: [4, 4, 8]"),
    "words": (one("annotations", bbox=["a"] * 4), 1, "box is not four numbers: "),
    "NaN": (one("annotations", bbox=[NAN, 4, 8, 8]), 1, "box is not four numbers: [NaN, 4, 8, 8]"),
    "infinite": (one("annotations", bbox=[4, 4, float("inf"), 8]), 1, "[4, 4, Infinity, 8]"),
    "true": (one("annotations", bbox=[True, 4, 8, 8]), 1, "box is not four numbers: [true, 4"),
    "object": (one("annotations", bbox={"x": 4}), 1, 'box is not four numbers: {"x": 4}'),
    "iscrowd": (one("annotations", iscrowd="perhaps"), 1, 'iscrowd is neither 0 nor 1: "perhaps"'),
    "text id": (one("annotations", bbox=None, id=UUID), UUID, "box is not four numbers: null"),
    "no id": (one("annotations", bbox=None, id=None), 1, "box is not four numbers: null"),
    "all ids 0": (all_of(each("annotations", id=0), lambda c: c["annotations"][6].update(bbox=0)),
                  7, "box is not four numbers: 0"),
    "no category": (one("annotations", category_id=None), 1, "category_id is no id: null"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_annotation_that_cannot_be_used_is_named_and_the_others_are(
    name: str, tmp_path: Path
) -> None:
    change, annotation_id, reason = BAD[name]
    content = instances()
    change(content)
    source = read(tmp_path, content)
    [rejection] = source.bad_boxes
    assert rejection.annotation_id == annotation_id
    assert reason in rejection.reason
    assert sum(len(p.objects) for p in source.photographs) == 9
    [without_box] = [p for p in source.photographs if not p.objects]
    assert rejection.file == without_box.file


def without_first_name(content: dict[str, Any]) -> None:
    del content["images"][0]["file_name"]


BAD_IMAGES = {
    "null": (lambda c: c["images"].__setitem__(0, None), "images[0]", "got `null`"),
    "no name": (one("images", file_name=None), "images[0]", "file_name is no name: null (image 1)"),
    "name missing": (without_first_name, "images[0]", "file_name is no name: null (image 1)"),
    "no id": (one("images", id=None), "1.jpg", "the image's id is no id: null"),
    "half an id": (one("images", id=1.5), "1.jpg", "the image's id is no id: 1.5"),
    "width in words": (one("images", width="abc"), "1.jpg", 'no whole numbers: "abc" x 24'),
    "half a pixel": (one("images", width=64.5), "1.jpg", "no whole numbers: 64.5 x 24 (image 1)"),
    "outside": (one("images", file_name="../../x"), "../../x", "stay inside the image folder"),
    "65 bits": (one("images", id=2**64), "1.jpg", f"fit into 64 bits (image {2**64})"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_image_that_cannot_be_used_is_named_and_the_others_are(name: str, tmp_path: Path) -> None:
    change, file, reason = BAD_IMAGES[name]
    content = instances()
    change(content)
    source = read(tmp_path, content)
    [rejection] = source.bad_images
    assert rejection.file == f"instances_train2017.json: {file}"
    assert rejection.annotation_id is None  # It counts as a photograph.
    assert reason in rejection.reason
    assert [len(p.objects) for p in source.photographs] == [1] * 9


def test_ids_of_19_digits_are_the_same_number_as_text(tmp_path: Path) -> None:
    content = instances()
    each("images", id=lambda i: str(1234567890123456789 + i))(content)
    each("annotations", image_id=lambda i: 1234567890123456789 + i)(content)
    source = read(tmp_path, content)
    assert source.photographs[0].image_id == 1234567890123456790
    assert [len(p.objects) for p in source.photographs] == [1] * 10


@pytest.mark.parametrize("entry", [None, 7, {"id": 99}, {"id": 99, "image_id": None}])
def test_annotation_of_no_image_is_rejected_by_the_name_of_its_file(
    entry: object, tmp_path: Path
) -> None:
    content = instances()
    content["annotations"].append(entry)
    source = read(tmp_path, content)
    [rejection] = source.bad_boxes
    assert rejection.file == "instances_train2017.json"
    assert rejection.annotation_id is not None  # Else it would count as a photograph.
    assert sum(len(p.objects) for p in source.photographs) == 10


def test_bad_box_of_another_class_is_no_matter(tmp_path: Path) -> None:
    content = instances()
    one("annotations", bbox=None)(content)  # A dog's.
    assert not read(tmp_path, content, ("cat",)).bad_boxes


@pytest.mark.parametrize("change", [without("annotations", "bbox", "area"),
                                    each("annotations", bbox=[]),
                                    each("annotations", bbox=None)])  # fmt: skip
def test_labels_without_boxes_are_of_whole_photographs(change: Change, tmp_path: Path) -> None:
    content = instances(4)
    without("images", "width", "height")(content)
    content["annotations"].append({"id": 9, "image_id": 1, "category_id": 18})  # Again a dog.
    content["annotations"].append({"id": 10, "image_id": 2, "category_id": 18})  # No cat alone.
    content["images"].append({"id": 5, "file_name": "5.jpg"})
    change(content)
    source = read(tmp_path, content)
    found = [(p.label, p.has_several_labels, p.objects) for p in source.photographs]
    assert found == [
        (1, False, ()), (None, True, ()), (1, False, ()), (0, False, ()), (None, False, ()),
    ]  # fmt: skip
    [doubt] = source.doubts
    assert "its labels are taken for those of whole photographs" in doubt
    # The other class does not count where it is not asked for.
    assert [p.label for p in read(tmp_path, content, ("cat",)).photographs][1] == 0


def test_all_takes_the_classes_of_labels_without_boxes(tmp_path: Path) -> None:
    content = instances()
    without("annotations", "bbox")(content)
    assert read(tmp_path, content, ("all",)).classes == ("cat", "dog")


NOT_COCO = {
    "no category at all": (without("annotations", "category_id"),
                           "missing required field `category_id` - at `$.annotations[0]`"),
    "no image at all": (each("annotations", image_id=None), "image_id is no id: null - at `$.anno"),
    "images without names": (without("images", "file_name"),
                             "file_name is no name: null - at `$.images[0]`"),
    "half an id": (each("images", id=1.5), "image's id is no id: 1.5 - at `$.images[0]`"),
    "id of true": (one("categories", id=True), "got `true` - at `$.categories[0].id`"),
    "no image at all but null": (lambda c: c.update(images=[None]), "got `null` - at `$.images[0]"),
    "category without a name": (one("categories", name=None), "got `null` - at `$.categories[0]"),
    "no categories": (lambda c: c.pop("categories"), "missing required field `categories`"),
    "no list of annotations": (lambda c: c.update(annotations={}), "Expected `array`"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_COCO)
def test_what_is_no_coco_is_named_with_its_place(name: str) -> None:
    change, says = NOT_COCO[name]
    content = instances()
    change(content)
    for with_nan in ({}, {"note": NAN}):  # Which another parser reads.
        with pytest.raises(msgspec.ValidationError) as error:
            coco_file.decode(json.dumps(content | with_nan).encode(), CLASSES)
        assert says in str(error.value)


@pytest.mark.parametrize(("kind", "says"), [("images", UUID), ("categories", "cat, dog")])
def test_text_id_that_stands_twice_is_refused(kind: str, says: str, tmp_path: Path) -> None:
    content = instances()
    for entry in content[kind][:2]:
        entry["id"] = UUID
    root = write(tmp_path, content)
    with pytest.raises(ValueError, match="stands 2 times") as error:
        coco.read_coco_dir(str(root), CLASSES)
    assert says in str(error.value)


def test_not_json_stays_not_json_with_a_nan_in_it() -> None:
    with pytest.raises(msgspec.DecodeError, match="malformed"):
        coco_file.decode(b'{"images": [NaN, oops', CLASSES)


@pytest.mark.parametrize(
    ("bbox", "size"),
    [
        ([0, 0, 20, 30], (24, 32)),  # As a browser shows it, where nothing says otherwise.
        ([0, 0, 30, 20], (32, 24)),  # It does not fit: this one was drawn on the stored image.
        ([0, 0, 99, 99], (24, 32)),
    ],
)
def test_size_that_is_left_out_is_that_of_the_photograph_as_shown(
    bbox: list[int], size: tuple[int, int], tmp_path: Path
) -> None:
    content = instances(1)
    content["images"][0].update(width=None, height=None)
    content["annotations"][0]["bbox"] = bbox
    root = write(tmp_path, content)
    (root / "train2017" / "1.jpg").write_bytes(jpeg(0, orientation=6))
    [photograph] = coco.read_coco_dir(str(root), ("dog",)).photographs
    assert photograph.size == size


def test_size_of_a_photograph_that_is_not_there_stays_unknown(tmp_path: Path) -> None:
    content = instances()
    without("images", "width", "height")(content)
    root = write(tmp_path, content)
    (root / "train2017" / "1.jpg").unlink()
    (root / "train2017" / "2.jpg").write_text("<html>")
    photographs: list[Photograph] = coco.read_coco_dir(str(root), CLASSES).photographs
    assert [p.size for p in photographs] == [(0, 0)] * 2 + [(32, 24)] * 8
    assert all(p.objects for p in photographs)  # So that they are rejected, not passed over.


def dataset(tmp_path: Path, content: Any, **options: Any) -> Manifest:
    root = write(tmp_path / "coco", content)
    return build(
        BuildConfig(
            source="coco", coco_dir=str(root), data_dir=str(tmp_path / "data"), classes=CLASSES,
            num_workers=1, **options,
        )
    )  # fmt: skip


def lines(tmp_path: Path, name: str) -> list[str]:
    return (tmp_path / "data" / name).read_text().splitlines()


def test_text_ids_are_kept_beside_their_numbers(tmp_path: Path) -> None:
    content = instances()
    for kind, key in (("images", "id"), ("annotations", "image_id")):
        each(kind, **{key: lambda i: f"{UUID}{i}" if i > 1 else i})(content)
    dataset(tmp_path, content)
    header, first, *others = lines(tmp_path, "attribution.csv")
    assert header == "image_id,license,url,source_id"
    assert first == "1,https://example.org/cc0,,"
    assert sorted(others) == sorted(
        f"{hashed_id(f'{UUID}{i}')},https://example.org/cc0,,{UUID}{i}" for i in range(2, 11)
    )


@pytest.mark.parametrize("policy", ["single", "largest"])
def test_labels_without_boxes_make_a_dataset(policy: str, tmp_path: Path) -> None:
    content = instances()
    without("annotations", "bbox", "area")(content)
    without("images", "width", "height")(content)
    content["annotations"].append({"image_id": 1, "category_id": 17})  # A second class.
    manifest = dataset(tmp_path, content, label_policy=policy, min_area=0.5)
    assert manifest.counts == {"train": {"cat": 4, "dog": 3}, "val": {"cat": 1, "dog": 1}}
    assert manifest.dropped == {"several_classes": 1}


def test_what_cannot_be_used_is_in_the_list_and_in_the_report(tmp_path: Path) -> None:
    content = instances(20)
    content["annotations"] += [None, {"image_id": 1, "category_id": 18, "bbox": [1], "id": UUID}]
    manifest = dataset(tmp_path, content)
    rejections = [json.loads(line) for line in lines(tmp_path, "rejected.jsonl")]
    found = {(rejection["file"], rejection["annotation_id"]) for rejection in rejections}
    assert found == {("instances_train2017.json", 21), ("train2017/1.jpg", 22)}
    assert manifest.num_examples("train") + manifest.num_examples("val") == 20
    page = (tmp_path / "data" / "report.html").read_text()
    assert "box is not four numbers" in page


def test_one_file_under_two_ids_is_attributed_twice(tmp_path: Path) -> None:
    content = instances()
    content["images"].append(content["images"][0] | {"id": 99})
    content["annotations"].append(content["annotations"][0] | {"id": 99, "image_id": 99})
    dataset(tmp_path, content)
    ids = [int(line.partition(",")[0]) for line in lines(tmp_path, "attribution.csv")[1:]]
    assert ids == [*range(1, 11), 99]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (each("annotations", bbox=[0.1, 0.1, 0.5, 0.5]), "lie within 0..1"),
        (each("annotations", bbox=[12, 12, 28, 22]), "look like [x1, y1, x2, y2]"),
        (each("images", width=24, height=32), "10 of 10 photographs looked at"),
        (lambda content: None, None),
    ],
)
def test_strange_boxes_are_said_and_built_where_nothing_is_cropped(
    change: Change, says: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = instances()
    change(content)
    assert dataset(tmp_path, content).num_examples("train") == 8
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == (says is not None)
    assert all(line.startswith("Warning: ") and str(says) in line for line in warnings)
