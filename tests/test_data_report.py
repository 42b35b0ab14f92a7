"""The dataset's report says what was built and what was not, and nothing of who built it."""

import errno
import html
import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from data_prep import rules
from data_prep.build import build
from data_prep.config import BuildConfig
from data_prep.report import charts
from data_prep.rules import Rule
from tests.support.coco_folder import CLASSES, instances, jpeg, write
from tfrecords import originals


def content() -> dict[str, object]:
    """Of 30 photographs, one shows both classes, one a crowd, one a box outside."""
    of = instances(30)
    of["annotations"] += [
        {"id": 90, "image_id": 1, "category_id": 17, "bbox": [0, 0, 4, 4]},
        {"id": 91, "image_id": 5, "category_id": 18, "bbox": [90, 0, 4, 4]},
    ]
    of["annotations"][1]["iscrowd"] = 1
    of["licenses"][0]["url"] = "<i>free</i>"
    return of


def broken(root: Path) -> Path:
    """Whose photograph 3 is cut off, 4 is no image, and 9 is not there."""
    write(root, content())
    whole = jpeg(99, size=(320, 240))
    (root / "train2017" / "3.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "train2017" / "4.jpg").write_text("<html>")
    (root / "train2017" / "9.jpg").unlink()
    return root


def page_of(coco: Path, data_dir: Path, **options: object) -> str:
    build(
        BuildConfig(
            source="coco", coco_dir=str(coco), data_dir=str(data_dir), classes=CLASSES,
            max_bad_fraction=0.5, **{"num_workers": 1, **options},
        )
    )  # fmt: skip
    return (data_dir / "report.html").read_text()


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<(style|svg).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL).split())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("report")
    return page_of(broken(root / "coco"), root / "data")


@pytest.mark.parametrize(
    "said",
    [
        "25 examples of 2 classes",  # Of 30: two left out, three rejected.
        "1 photographs that show more than one of the classes",
        "1 photographs on which the class is marked as a crowd alone",
        "1 boxes outside their photograph, or of no size",
        "4 photographs with a flaw",
        "train2017/3.jpg cannot be decoded: ",
        "train2017/4.jpg not an image",
        "train2017/9.jpg not on disk",
        "25 &lt;i&gt;free&lt;/i&gt;",  # Text, not markup.
        "photographs that show exactly one of the classes",
        "Source COCO",
    ],
)
def test_page_says_what_was_built_and_what_was_not(said: str, page: str) -> None:
    assert said in text_of(page)


def test_rejected_photographs_are_shown_as_far_as_they_can_be_decoded(page: str) -> None:
    figures = re.findall(r"<figure>(.*?)</figure>", page, re.DOTALL)
    shown = {
        re.search(r"<b>(.*?)</b>", figure).group(1): "data:image/jpeg" in figure
        for figure in figures
    }
    assert shown == {
        "train2017/3.jpg": True, "train2017/4.jpg": False, "train2017/5.jpg": True,
        "train2017/9.jpg": False,
    }  # fmt: skip


def test_page_needs_nothing_else_and_repeats_no_id(page: str) -> None:
    sources = re.findall(r'(?:src|href)="([^"]{0,30})|url\(([^)]*)', page)
    assert sources
    assert all("".join(source).startswith(("data:", "#")) for source in sources)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page.count("<svg") == 3
    assert "#2563eb" not in re.sub(r":root.*?}", "", page, flags=re.DOTALL)


def test_page_is_the_same_whoever_built_it(page: str, tmp_path: Path) -> None:
    assert page_of(broken(tmp_path / "other"), tmp_path / "data", num_workers=2) == page


@pytest.mark.parametrize("policy", ["largest", "crop"])
def test_sheets_show_each_class_with_its_boxes(policy: str, tmp_path: Path) -> None:
    page = page_of(write(tmp_path / "coco", content()), tmp_path / "data", label_policy=policy)
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    for name in CLASSES:
        total = sum(of_class[name] for of_class in manifest["counts"].values())
        assert re.search(rf"<h2><bdi>{name}</bdi> <span>{total}</span>", page)
    assert page.count('<figure title="') == 24  # Twelve of each class.
    assert page.count('class=""') >= 24


def test_pairs_that_look_the_same_stand_side_by_side(tmp_path: Path) -> None:
    root = write(tmp_path / "coco", instances(40))
    for number in range(1, 21):
        with Image.open(root / "train2017" / f"{number}.jpg") as image:
            image.save(root / "train2017" / f"{number + 20}.jpg", quality=95)
    page = page_of(root, tmp_path / "data")
    pairs = (tmp_path / "data" / "near_duplicates.jsonl").read_text().splitlines()
    assert page.count('class="couple"') == len(pairs) > 0
    assert f"{len(pairs)} pairs that look the same" in text_of(page)


def test_folders_have_no_boxes_but_sizes(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / "animals" / CLASSES[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(jpeg(number))
    build(
        BuildConfig(
            source="folder", folder_dir=str(tmp_path / "animals"), classes=CLASSES,
            data_dir=str(tmp_path / "data"), num_workers=1,
        )
    )  # fmt: skip
    page = (tmp_path / "data" / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "20 not known" in text_of(page)


def test_classes_are_counted_in_text_of_any_script(tmp_path: Path) -> None:
    content = instances(30)
    content["categories"] = [{"id": 17, "name": "猫"}, {"id": 18, "name": "قطة & <b>"}]
    options = {"classes": tuple(c["name"] for c in content["categories"]), "num_workers": 1}
    build(
        BuildConfig(
            source="coco", coco_dir=str(write(tmp_path / "coco", content)),
            data_dir=str(tmp_path / "data"), **options,
        )
    )  # fmt: skip
    page = (tmp_path / "data" / "report.html").read_text()
    counts = json.loads((tmp_path / "data" / "manifest.json").read_text())["counts"]
    rows = re.findall(r'<tr title="(.*?)"><th><bdi>(.*?)</bdi>.*?<span>(\d+)', page, re.DOTALL)
    assert [(name, said) for said, name, _ in rows] == [
        (html.escape(name), f"train {counts['train'][name]}, val {counts['val'][name]}")
        for name in options["classes"]
    ]
    assert sum(int(total) for *_, total in rows) == 30


@pytest.mark.parametrize("values", [[256], [1, 65_500], [300, 300, 301], [0.3]])
def test_histogram_holds_every_value(values: list[float]) -> None:
    figure = charts.draw_histogram(values, charts.SHORT_SIDE, mark=256)
    figure.canvas.draw()
    (axes,) = figure.axes
    assert sum(patch.get_height() for patch in axes.patches) == len(values)
    low, high = axes.get_xlim()
    assert low <= min(values) <= max(values) <= high


# Datasets and scripts know the rules by these names.
RULES = {
    "no_instance_of_the_classes", "several_classes", "only_crowds", "smaller_than_min_area",
    "crowd_not_cropped", "crop_smaller_than_min_area", "box_outside_or_empty",
    "annotation_of_unknown_image", "annotation_of_unknown_category",
    "near_duplicate_of_another_split", "two_labels", "no_photograph_by_name", "beside_the_splits",
    "in_no_class_folder", "rare_class",
}  # fmt: skip


def test_rules_keep_their_names() -> None:
    assert {rule.value for rule in Rule} == RULES


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_is_put_into_words(rule: Rule) -> None:
    """A rule without words would leave photographs out without a reason in the report."""
    assert rule.words
    assert Rule(rule.value) is rule
    assert [other for other in Rule if other.words == rule.words] == [rule]
    assert f"{rule}" == rule.value  # As messages name it.
    package = Path(rules.__file__).parent
    sources = [p.read_text() for p in package.rglob("*.py") if p.name != "rules.py"]
    assert any(f"Rule.{rule.name}" in source for source in sources)


def test_report_gets_along_without_photographs(tmp_path: Path, monkeypatch) -> None:
    """They may go, or their disk, once the last shard is there."""

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(originals, "read_original", fail)
    page = page_of(broken(tmp_path / "coco"), tmp_path / "data")
    assert "nothing to show" in page
    assert "data:image/jpeg" not in page
