"""The zoo: each kind of bad input ends `data_prep.build` with one clear line and nothing lost."""

import html
import io
import json
import os
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.build import build as build_dataset
from data_prep.config import BuildConfig
from tests.support import coco_folder, miniature
from tests.support.coco_folder import instances, write
from tfrecords.manifest import read_manifest

Break = Callable[[Path], object]


def changed(**changes: object) -> Break:
    """Writes annotations with some top-level keys replaced, or removed where None."""
    content = {k: v for k, v in (instances() | changes).items() if v is not None}
    return lambda root: write(root, content)


def with_image(**changes: object) -> Break:
    content = instances()
    content["images"][0] |= changes
    return lambda root: write(root, content)


def with_annotation(**changes: object) -> Break:
    content = instances()
    content["annotations"][0] |= changes
    return lambda root: write(root, content)


def with_file(content: bytes) -> Break:
    def break_it(root: Path) -> None:
        (write(root) / "train2017" / "1.jpg").write_bytes(content)

    return break_it


def without_file(root: Path) -> None:
    (write(root) / "train2017" / "1.jpg").unlink()


def bomb(root: Path) -> None:
    Image.new("1", (30_000, 30_000)).save(write(root) / "train2017" / "1.jpg", "PNG")


def nothing(root: Path) -> None:
    root.mkdir()


def with_bytes(content: bytes) -> Break:
    """Writes an annotation file with any bytes."""

    def break_it(root: Path) -> None:
        (write(root) / "annotations" / "instances_train2017.json").write_bytes(content)

    return break_it


def linked_to_nowhere(root: Path) -> None:
    without_file(root)
    (root / "train2017" / "1.jpg").symlink_to(root / "nowhere.jpg")


def lonely_dog_without_box(root: Path) -> None:
    content = only_cats()
    content["annotations"].append(
        {"id": 99, "image_id": 1, "category_id": 18, "bbox": [40, 40, 5, 5]}
    )
    write(root, content)


def only_cats() -> dict[str, object]:
    content = instances()
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 17]
    return content


def without_id() -> dict[str, object]:
    content = instances()
    del content["images"][3]["id"]
    return content


def turned_sizes(root: Path) -> None:
    content = instances()
    for image in content["images"]:
        image |= {"width": 24, "height": 32}
    write(root, content)


def without_sizes_or_a_photograph(root: Path) -> None:
    content = instances()
    for image in content["images"]:
        del image["width"], image["height"]
    (write(root, content) / "train2017" / "1.jpg").unlink()


def with_every_annotation(**changes: object) -> Break:
    content = instances()
    for annotation in content["annotations"]:
        annotation |= changes
    return lambda root: write(root, content)


def folder_in_its_place(root: Path) -> None:
    without_file(root)
    (root / "train2017" / "1.jpg").mkdir()


def floating_point(root: Path) -> None:
    Image.new("F", (32, 24)).save(write(root) / "train2017" / "1.jpg", "TIFF")


def too_long(root: Path) -> None:
    Image.new("RGB", (70_000, 4)).save(write(root) / "train2017" / "1.jpg", "PNG")


def folder_for_annotations(root: Path) -> None:
    path = write(root) / "annotations" / "instances_train2017.json"
    path.unlink()
    path.mkdir()


def export(name: str, content: object) -> Break:
    """Writes the annotation file of a labelling tool, without photographs."""

    def break_it(root: Path) -> None:
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(json.dumps(content))

    return break_it


def png() -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(noise).save(out, "PNG")
    return out.getvalue()


BAD_EXIF = b"\0\0\0\x07eXIf\0\x08\0\x02\x01\x12\0" + struct.pack(
    ">I", zlib.crc32(b"eXIf\0\x08\0\x02\x01\x12\0")
)
NUL_IN_A_PATH = json.dumps(instances()).replace("1.jpg", "\\u0000")

BUILD = {
    # Folders.
    "no folder": (lambda root: None, (), 1, "not a directory. Received"),
    "empty folder": (nothing, (), 1, "holds no annotations/instances_*.json"),
    "photographs alone": (lambda r: shutil.rmtree(write(r) / "annotations"), (), 1, "no "
                          "result.json with images/ (Label Studio); no train/_annotations"),
    # Exports of labelling tools.
    "Label Studio's own format": (export("result.json", [{"id": 1, "annotations": []}]), (), 1,
                                  "Not COCO detections"),
    "Label Studio, no photographs": (export("result.json", instances()), (), 1, "10 of 10 "
                                     "photographs are unusable, more than --max_bad_fraction=0.01. "
                                     "The first: images/1.jpg: not on disk"),
    "Roboflow, nothing labelled": (export("train/_annotations.coco.json", only_cats() | {
                                   "annotations": []}), (), 1, "No example is left for cat, dog"),
    # Downloads.
    "server out of reach": (nothing, ("--download", "--download_url=http://127.0.0.1:9"), 1,
                            "Cannot reach http://127.0.0.1:9/annotations/"),
    "download of drawings": (write, ("--source=synthetic", "--coco_dir=", "--download"), 2,
                             "--download goes"),
    "mirror without http": (write, ("--download_url=mirror",), 2, "download_url=mirror"),
    "no download at once": (write, ("--num_downloads=0",), 2, "num_downloads=0"),
    # Annotations.
    "not JSON": (lambda root: write(root, "{oops"), (), 1, "Not JSON"),
    "empty file": (lambda root: write(root, ""), (), 1, "Not JSON"),
    "not COCO": (lambda root: write(root, '[{"image": 1}]'), (), 1, "Not COCO detections"),
    "not UTF-8": (with_bytes(b'{"images": [{"id": 1, "file_name": "\xe4"}]}'), (), 1, "Not JSON in "
                  "UTF-8"),
    "UTF-16": (with_bytes(json.dumps(instances()).encode("utf-16")), (), 1, "Not JSON"),
    "captions": (with_bytes(b'{"images": [], "annotations": [{"id": 1, "image_id": 1}]}'), (), 1,
                 "missing required field `category_id` - at `$.annotations[0]`"),
    "key missing": (changed(annotations=None), (), 1, "missing required field `annotations`"),
    "inner key missing": (lambda r: write(r, without_id()), (), 1,
                          "4.jpg: the image's id is no id: null"),
    "wrong type": (with_image(id=1.5), (), 1, "1.jpg: the image's id is no id: 1.5"),
    "no images": (changed(images=[]), (), 1, "No example is left for cat, dog"),
    "unknown class": (write, ("--classes=cat,dgo",), 1, "no class 'dgo'. Received: classes=dgo. "
                      "Did you mean 'dog'?"),
    "class unlike any": (write, ("--classes=cat,zebra",), 1, "no class 'zebra'. Received: "
                         "classes=zebra. It has: cat, dog"),
    "class left empty": (lambda r: write(r, only_cats()), (), 1, "No example is left for dog"),
    "all too small": (write, ("--min_area=0.9",), 1, "smaller_than_min_area: 10"),
    "one image twice": (with_image(id=2), (), 1, "The image id 2 stands 2 times"),
    "one category twice": (changed(categories=[{"id": 17, "name": "cat"},
                           {"id": 17, "name": "dog"}]), (), 1, "category id 17 stands 2 times"),
    "id of 65 bits": (with_image(id=2**64), (), 1, f"fit into 64 bits (image {2**64})"),
    "all of nothing": (changed(annotations=[]), ("--classes=all",), 1, "No annotation is of any"),
    "only strays": (with_every_annotation(image_id=99), (), 1, "annotation_of_unknown_image: 10"),
    "only unknown categories": (with_every_annotation(category_id=99), (), 1,
                                "annotation_of_unknown_category: 10"),
    "only crowds": (with_every_annotation(iscrowd=1), (), 1, "only_crowds: 10"),
    "only crowds to crop": (with_every_annotation(iscrowd=1), ("--label_policy=crop",), 1,
                            "crowd_not_cropped: 10"),
    "crops too small": (write, ("--label_policy=crop", "--min_area=0.9"), 1,
                        "crop_smaller_than_min_area: 10"),
    "only box outside": (lonely_dog_without_box, (), 1, "No example is left for dog. Left out by "
                         "the rules: no_instance_of_the_classes: 5, box_outside_or_empty: 1"),
    "no box is one": (with_every_annotation(bbox=[4, 4, 8]), (), 1, "Left out by the rules: "
                      "no_instance_of_the_classes: 10, box_outside_or_empty: 10"),
    "labels to crop": (with_every_annotation(bbox=None), ("--label_policy=crop",), 1, "has no "
                       "boxes: its labels are taken for those of whole photographs. Received: "
                       "--label_policy=crop"),
    "shares to crop": (with_every_annotation(bbox=[0.1, 0.1, 0.5, 0.5]), ("--label_policy=crop",),
                       1, "lie within 0..1: they look like shares"),
    "corners to crop": (with_every_annotation(bbox=[12, 12, 28, 22]), ("--label_policy=crop",), 1,
                        "they look like [x1, y1, x2, y2]"),
    "turned sizes to crop": (turned_sizes, ("--label_policy=crop",), 1, "10 of 10 photographs "
                             "looked at are annotated with width and height exchanged"),
    "leaves the folder": (with_image(file_name="../../x.jpg"), (), 1, "1 of 9 photographs are "
                          "unusable, more than --max_bad_fraction=0.01. The first: instances_"
                          "train2017.json: ../../x.jpg: A file_name must stay inside the image "
                          "folder (image 1)"),
    "absolute path": (with_image(file_name="/etc/passwd.."), (), 1, "must stay inside"),
    "NUL in a path": (lambda r: write(r, NUL_IN_A_PATH), (), 1,
                      "\\x00: A file_name must stay inside"),
    "folder for annotations": (folder_for_annotations, (), 1, "Is a directory: "),
    "annotations elsewhere": (write, ("--coco_dir=", "--annotations=a.json", "--images_dir=."), 1,
                              "no such annotation file. Received: a.json"),
    "photographs elsewhere": (write, ("--coco_dir=", "--annotations=a.json", "--images_dir=b"), 1,
                              "images_dir is not a directory. Received: b"),
    "class folders elsewhere": (write, ("--source=folder", "--coco_dir=", "--folder_dir=b"), 1,
                                "folder_dir is not a directory. Received: b"),
    # Photographs.
    "missing": (without_file, (), 1, "1 of 10 photographs are unusable, more than "
                "--max_bad_fraction=0.01. The first: train2017/1.jpg: not on disk"),
    "missing, of unknown size": (without_sizes_or_a_photograph, (), 1, "1 of 10 photographs are "
                                 "unusable, more than --max_bad_fraction=0.01. The first: "
                                 "train2017/1.jpg: not on disk"),
    "to fetch, of unknown size": (without_sizes_or_a_photograph, ("--download",
                                  "--download_url=http://127.0.0.1:9"), 1, "must say the width "
                                  "and height of photographs with boxes that are to be fetched. "
                                  "Received: 1 without, the first: train2017/1.jpg"),
    "linked to nowhere": (linked_to_nowhere, (), 1, "1.jpg: not on disk"),
    "folder for a photograph": (folder_in_its_place, (), 1, "1.jpg: not on disk"),
    "pixels without a range": (floating_point, (), 1, "1.jpg: floating-point pixels"),
    "truncated": (with_file(coco_folder.jpeg(1)[:-99]), (), 1, "1.jpg: cannot be decoded"),
    "empty photograph": (with_file(b""), (), 1, "1.jpg: empty file"),
    "no photograph": (with_file(b"<html>"), (), 1, "1.jpg: not an image"),
    "bomb": (bomb, (), 1, "1.jpg: too large"),
    "photograph too long": (too_long, (), 1, "1.jpg: too long for a JPEG: 70000x4 pixels"),
    "half a header": (with_file(coco_folder.jpeg(1)[:20]), (), 1, "1.jpg: "),
    "noise behind a JPEG's first bytes": (with_file(b"\xff\xd8\xff\xe0" + b"noise" * 99), (), 1,
                                          "1.jpg: "),
    # Splits.
    "val left empty": (lambda r: write(r, instances(2)), (), 1, "left for the split 'val'"),
    "too many shards": (write, ("--num_shards=99",), 1, "num_shards=99, examples="),
    "no split in source": (lambda r: write(r, name="default"), ("--split_by=source",), 1,
                           "Use --split_by=hash"),
    # Flags.
    "unknown flag": (write, ("--clases=cat",), 2, "clases"),
    "out of range": (write, ("--min_area=2",), 2, "min_area=2"),
    "unknown choice": (write, ("--label_policy=best",), 2, "label_policy=best"),
    "nothing to train on": (write, ("--val_fraction=0.6", "--test_fraction=0.4"), 2, "0.6 + 0.4"),
    "crop inside out": (write, ("--crop_margin=-1",), 2, "crop_margin=-1"),
    "class twice": (write, ("--classes=cat,cat",), 2, "must name each class once"),
    "stray argument": (write, ("stray",), 2, "Received: stray"),
    "empty data_dir": (write, ("--data_dir=",), 2, "must name a directory. Received: data_dir=''"),
    "no class": (write, ("--classes=",), 2, "Received: classes=()"),
    "not a fraction": (write, ("--val_fraction=nan",), 2, "Received: val_fraction=nan"),
    "task beyond the last": (write, ("--task_index=2", "--num_tasks=2"), 2, "below --num_tasks. "
                             "Received: task_index=2, num_tasks=2"),
    "task of how many": (write, ("--task_index=0",), 2, "task_index=0, num_tasks=None"),
    "tasks without an index": (write, ("--num_tasks=4",), 2, "num_tasks=4 alone"),
    "task that commits": (write, ("--task_index=0", "--num_tasks=2", "--commit_only"), 2,
                          "after the last task"),
    "task of Beam": (write, ("--runner=beam", "--task_index=0", "--num_tasks=2"), 2, "by itself"),
    "arguments for no Beam": (write, ("--beam_args=--x=1",), 2, "are for --runner=beam"),
    "commit of nothing": (write, ("--commit_only",), 1, "Shards are missing"),
    "two sources": (write, ("--annotations=a.json",), 2, "in place of --coco_dir"),
    "boxes of class folders": (write, ("--source=folder", "--coco_dir=", "--folder_dir=.",
                               "--min_area=.5"), 2, "no boxes, which --min_area is about"),
    "endless margin": (write, ("--crop_margin=inf",), 2, "crop_margin must be 0 or more"),
    "folder without a folder": (write, ("--source=folder", "--coco_dir="), 2, "needs --folder_dir"),
    "coco without a folder": (write, ("--coco_dir=",), 2, "source=coco needs --coco_dir"),
}  # fmt: skip


def build(root: Path, data_dir: Path, *flags: str) -> tuple[int, str]:
    done = miniature.python(
        "data_prep.build", "--source=coco", f"--coco_dir={root}", f"--data_dir={data_dir}",
        "--classes=cat,dog", "--num_workers=1", *flags,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", BUILD)
def test_bad_input_ends_with_one_clear_line(name: str, tmp_path: Path) -> None:
    break_it, flags, code, says = BUILD[name]
    break_it(tmp_path / "coco")
    data_dir = tmp_path / "data"
    returned, stderr = build(tmp_path / "coco", data_dir, *flags)
    assert returned == code, stderr
    [line] = stderr.splitlines()
    assert line.startswith("Error: ")
    assert says in line
    for complete in ("manifest.json", "dataset_info.json", "features.json"):
        assert not (data_dir / complete).exists()


def test_few_bad_photographs_are_listed_and_left_out(tmp_path: Path) -> None:
    without_file(tmp_path / "coco")
    code, stderr = build(tmp_path / "coco", tmp_path / "data", "--max_bad_fraction=0.1")
    assert code == 0, stderr
    [line] = (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "file": "train2017/1.jpg",
        "reason": "not on disk",
        "annotation_id": None,
    }
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert sum(sum(counts.values()) for counts in manifest["counts"].values()) == 9


def in_its_place(make: Callable[[Path], object]) -> Break:
    """Puts something else where a photograph was."""

    def break_it(root: Path) -> None:
        without_file(root)
        make(root / "train2017" / "1.jpg")

    return break_it


LONG_NAME = f"{'x' * 300}.jpg"


def name_too_long(root: Path) -> None:
    content = instances(30)
    write(root, content)
    content["images"][29]["file_name"] = LONG_NAME
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))


# What is no end of a build that allows for bad photographs, its report's pictures included.
BAD_PHOTOGRAPHS = {
    "first 20 bytes of a JPEG": (with_file(coco_folder.jpeg(1)[:20]), "not an image"),
    "truncated PNG": (with_file(png()[:-99]), "cannot be opened: image file is truncated"),
    "PNG with half an EXIF": (with_file(png()[:33] + BAD_EXIF + png()[33:]), "cannot be opened: "),
    "HEIC or no HEIC": (with_file(b"\0\0\0\x18ftypheic" + bytes(99)), ""),
    "name too long": (name_too_long, "cannot be read: File name too long"),
    "link to itself": (in_its_place(lambda p: p.symlink_to(p)), "cannot be read: Too many levels"),
    "pipe": (in_its_place(os.mkfifo), "cannot be read: not a regular file"),
    "endless device": (in_its_place(lambda p: p.symlink_to("/dev/zero")), "cannot be read: not a"),
}


@pytest.mark.parametrize("name", BAD_PHOTOGRAPHS)
def test_bad_photograph_is_listed_and_left_out(name: str, tmp_path: Path, capfd) -> None:
    break_it, reason = BAD_PHOTOGRAPHS[name]
    break_it(tmp_path / "coco")
    build_here(source="coco", coco_dir=str(tmp_path / "coco"), data_dir=str(tmp_path / "data"))
    [line] = (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()
    rejection = json.loads(line)
    assert rejection["file"] == f"train2017/{LONG_NAME if 'long' in name else '1.jpg'}"
    assert rejection["reason"].startswith(reason)
    assert rejection["reason"] in html.unescape((tmp_path / "data" / "report.html").read_text())
    assert capfd.readouterr().err == ""


def build_here(**options: object) -> None:
    """Builds in this process, which spares its start."""
    build_dataset(
        BuildConfig(classes=coco_folder.CLASSES, max_bad_fraction=0.1, num_workers=1, **options)
    )


def test_name_that_is_not_utf_8_is_shown_escaped(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / "folder" / coco_folder.CLASSES[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(coco_folder.jpeg(number))
    (tmp_path / "folder" / "cat" / "0.jpg").rename(
        tmp_path / "folder" / "cat" / os.fsdecode(b"caf\xe9.jpg")
    )
    data_dir = tmp_path / "data"
    build_here(source="folder", folder_dir=str(tmp_path / "folder"), data_dir=str(data_dir))
    [line] = (data_dir / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["file"] == r"cat/caf\xe9.jpg"
    assert r"cat/caf\xe9.jpg" in (data_dir / "report.html").read_text()
    assert sum(sum(c.values()) for c in read_manifest(data_dir).counts.values()) == 19


def test_photograph_with_many_crops_is_rejected_once(tmp_path: Path) -> None:
    content = instances()
    content["annotations"] += [a | {"id": 100 + a["id"]} for a in content["annotations"]]
    write(tmp_path / "coco", content)
    (tmp_path / "coco" / "train2017" / "1.jpg").write_text("<html>")
    flags = ("--label_policy=crop", "--max_bad_fraction=0.1")
    assert build(tmp_path / "coco", tmp_path / "data", *flags)[0] == 0
    [line] = (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "not an image"


@pytest.mark.parametrize(
    ("bbox", "shown"),
    [
        ([40, 4, 8, 8], "[40.0, 4.0, 8.0, 8.0]"),
        ([4, 4, 0, 8], "[4.0, 4.0, 0.0, 8.0]"),
        ([4, 4, 8, -3], "[4.0, 4.0, 8.0, -3.0]"),
        ([-9, -9, 5, 5], "[-9.0, -9.0, 5.0, 5.0]"),
        ([4, 4, 8], "[4, 4, 8]"),
        ([float("nan"), 4, 8, 8], "[NaN, 4, 8, 8]"),
        (None, "null"),
    ],
)
def test_senseless_box_is_listed_and_decides_nothing(
    bbox: object, shown: str, tmp_path: Path
) -> None:
    with_annotation(bbox=bbox)(tmp_path / "coco")
    code, stderr = build(tmp_path / "coco", tmp_path / "data")
    assert code == 0, stderr
    [line] = (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()
    rejection = json.loads(line)
    assert rejection["file"] == "train2017/1.jpg"
    assert rejection["annotation_id"] == 1
    assert rejection["reason"].endswith(f": {shown}")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["dropped"]["no_instance_of_the_classes"] == 1


def test_build_that_fails_half_way_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    """Photographs went bad since the last build: its shards are gone, so must its manifest be."""
    root, data_dir = write(tmp_path / "coco"), tmp_path / "data"
    assert build(root, data_dir)[0] == 0
    for number in range(1, 11):
        (root / "train2017" / f"{number}.jpg").write_text(f"<html>{number}")
    code, stderr = build(root, data_dir)
    assert code == 1
    assert "not an image" in stderr
    for complete in ("manifest.json", "dataset_info.json", "features.json"):
        assert not (data_dir / complete).exists()
    assert len((data_dir / "rejected.jsonl").read_text().splitlines()) == 10


@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk_is_named_and_the_same_command_goes_on(
    workers: int, small_disk: Path, tmp_path: Path
) -> None:
    root, data_dir = write(tmp_path / "coco", instances(40)), small_disk / "data"
    code, stderr = build(root, data_dir, f"--num_workers={workers}")
    assert code == 1
    [line] = stderr.splitlines()
    assert "No space left on device" in line
    assert str(data_dir) in line  # The file that found no room.
    assert "Make room and start the same command again" in line
    assert not (data_dir / "manifest.json").exists()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert build(root, data_dir)[0] == 0


def test_read_only_folder_is_named(small_disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, stderr = build(write(tmp_path / "coco"), small_disk / "data")
    assert code == 1
    [line] = stderr.splitlines()
    assert "Read-only file system" in line
    assert str(small_disk / "data") in line


def test_full_disk_names_the_drawn_photograph(small_disk: Path) -> None:
    done = miniature.python(
        "data_prep.build", "--source=synthetic", f"--data_dir={small_disk / 'data'}"
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "No space left on device" in line
    assert ".jpg" in line


def test_failed_build_keeps_what_was_complete_before(tmp_path: Path) -> None:
    """A mistake in the next command must not take the last dataset away."""
    write(tmp_path / "coco")
    assert build(tmp_path / "coco", tmp_path / "data")[0] == 0
    before = (tmp_path / "data" / "manifest.json").read_bytes()
    shutil.rmtree(tmp_path / "coco")
    assert build(tmp_path / "coco", tmp_path / "data")[0] == 1
    assert (tmp_path / "data" / "manifest.json").read_bytes() == before


def test_traceback_shows_only_when_asked_for(tmp_path: Path) -> None:
    code, stderr = build(tmp_path / "nowhere", tmp_path / "data", "--verbosity=1")
    assert code == 1
    assert "Traceback" in stderr
    assert stderr.splitlines()[-1].startswith("Error: ")


def test_data_dir_that_is_a_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "coco")
    (tmp_path / "data").write_text("")
    code, stderr = build(tmp_path / "coco", tmp_path / "data")
    assert code == 1
    assert str(tmp_path / "data") in stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "module", ["data_prep.build", "data_prep.verify", "trainer.main", "trainer.predict"]
)
def test_help_is_no_error(module: str) -> None:
    done = miniature.python(module, "--help")
    assert done.returncode == 0
    assert f"{module.partition('.')[0]}" in done.stdout
    assert done.stderr == ""
