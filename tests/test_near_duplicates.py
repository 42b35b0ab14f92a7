"""Photographs that look the same are found across splits, and left out of training if asked."""

import io
import json
from pathlib import Path

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from data_prep.build import build
from data_prep.config import BuildConfig
from data_prep.examples import near_duplicates
from data_prep.examples.near_duplicates import Pair, find, fingerprint
from data_prep.synthetic.dataset import draw_image
from tests.support.coco_folder import CLASSES, instances, write
from tfrecords import images
from tfrecords.manifest import Manifest


def drawn(index: int) -> Image.Image:
    return draw_image(seed=0, index=index, width=160, height=120)[0]


def saved(image: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=quality)
    return out.getvalue()


def seen(image: Image.Image) -> str:
    return fingerprint(np.asarray(image.convert("RGB")))


def distance(one: Image.Image, other: Image.Image) -> Pair | None:
    of = {"one": seen(one), "other": seen(other)}
    return next(iter(find(of, {"one": "train", "other": "val"})), None)


COPIES = {
    "saved again": lambda image: Image.open(io.BytesIO(saved(image, 40))),
    "half as large": lambda image: image.resize((image.width // 2, image.height // 2)),
    "squeezed": lambda image: image.resize((300, 300)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "mirrored": ImageOps.mirror,
    "mirrored and smaller": lambda image: ImageOps.mirror(image).resize((200, 150)),
    "grey": ImageOps.grayscale,
}


def test_fingerprint_is_the_perceptual_hash_of_imagehash() -> None:
    noise = np.random.default_rng(0).integers(256, size=(50, 64, 64, 3), dtype=np.uint8)
    for pixels in (*noise, *(np.asarray(drawn(index)) for index in range(20))):
        sample = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_LINEAR_EXACT)
        grey = Image.fromarray(cv2.cvtColor(sample, cv2.COLOR_RGB2GRAY))
        assert fingerprint(pixels) == str(imagehash.phash(grey, hash_size=16))


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_real_photographs_are_found(name: str, shared: Path) -> None:
    for path in sorted((shared / "coco_animals" / "train2017").glob("*.jpg"))[:40]:
        image = Image.open(path).convert("RGB")
        pair = distance(image, COPIES[name](image))
        assert pair is not None, path.name
        assert pair.is_mirrored == name.startswith("mirrored")


def test_no_two_real_photographs_look_the_same(shared: Path) -> None:
    paths = sorted((shared / "coco_animals").glob("*/*.jpg"))[::2]
    of = {p.name: fingerprint(images.decode(p.read_bytes())) for p in paths}
    assert not find(of, {name: ("train", "val")[i % 2] for i, name in enumerate(of)})


def test_no_two_drawn_animals_look_the_same() -> None:
    of = {str(i): seen(drawn(i)) for i in range(60)}
    assert not find(of, {name: ("train", "val")[int(name) % 2] for name in of})


def test_pairs_are_sought_across_splits_alone() -> None:
    of = dict.fromkeys("abc", seen(drawn(0)))
    assert not find(of, dict.fromkeys("abc", "train"))
    pairs = find(of, {"a": "train", "b": "val", "c": "train"})
    assert [pair.files for pair in pairs] == [("a", "b"), ("c", "b")]
    assert near_duplicates.seen_in_training(pairs) == {"a", "c"}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """20 drawings, and each once more, mirrored and smaller, with an id and a name of its own."""
    root = write(tmp_path / "coco", instances(40))
    for number in range(20):
        image = drawn(number)
        copy = ImageOps.mirror(image).resize((120, 90))
        (root / "train2017" / f"{number + 1}.jpg").write_bytes(saved(image))
        (root / "train2017" / f"{number + 21}.jpg").write_bytes(saved(copy))
    return root


def built(coco: Path, data_dir: Path, **options: object) -> Manifest:
    return build(
        BuildConfig(
            source="coco", coco_dir=str(coco), data_dir=str(data_dir), classes=CLASSES,
            **{"num_workers": 1, **options},
        )
    )  # fmt: skip


@pytest.mark.parametrize("policy", ["single", "crop"])
def test_they_are_listed_and_left_out_of_training_if_asked(policy, coco, tmp_path) -> None:
    whole = built(coco, tmp_path / "whole", label_policy=policy)
    lines = (tmp_path / "whole" / "near_duplicates.jsonl").read_text().splitlines()
    assert len(lines) == whole.near_duplicates > 0
    for line in map(json.loads, lines):
        numbers = [int(Path(file).stem) for file in line["files"]]
        assert abs(numbers[0] - numbers[1]) == 20
        assert line["splits"] == ["train", "val"]

    left = built(coco, tmp_path / "left", label_policy=policy, drop_near_duplicates=True)
    assert left.near_duplicates == 0
    assert left.dropped["near_duplicate_of_another_split"] == len(lines)
    assert left.counts["val"] == whole.counts["val"]
    assert left.num_examples("train") == whole.num_examples("train") - len(lines)


def test_bytes_do_not_depend_on_the_workers(coco, tmp_path) -> None:
    one = built(coco, tmp_path / "one", drop_near_duplicates=True)
    two = built(coco, tmp_path / "two", drop_near_duplicates=True, num_workers=2)
    assert one.digest == two.digest


def test_second_build_looks_at_nothing_again(coco, tmp_path, monkeypatch) -> None:
    first = built(coco, tmp_path / "data", drop_near_duplicates=True)

    def refuse(*_: object) -> None:
        raise AssertionError("looked at again")

    monkeypatch.setattr(near_duplicates, "fingerprint", refuse)
    assert built(coco, tmp_path / "data", drop_near_duplicates=True).digest == first.digest
