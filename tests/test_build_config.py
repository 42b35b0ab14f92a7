"""The folder that is given decides the source, and what contradicts itself is refused."""

from pathlib import Path

import pytest

from data_prep.config import ALL_CLASSES, COCO_ANIMALS, BuildConfig


@pytest.mark.parametrize(
    ("given", "source", "classes"),
    [
        ({"coco_dir": "c"}, "coco", COCO_ANIMALS),
        ({"annotations": ("a.json",), "images_dir": "i"}, "coco", COCO_ANIMALS),
        ({"folder_dir": "f"}, "folder", ALL_CLASSES),  # The folders are the classes.
        ({"folder_dir": "f", "classes": ("cat", "dog")}, "folder", ("cat", "dog")),
        ({"folder_dir": "f", "coco_dir": ""}, "folder", ALL_CLASSES),  # `--coco_dir=` is none.
        ({"source": "synthetic"}, "synthetic", COCO_ANIMALS),
        ({"source": "coco", "coco_dir": "c", "classes": ("all",)}, "coco", ALL_CLASSES),
    ],
)
def test_what_is_given_decides_source_and_classes(given, source, classes, tmp_path: Path) -> None:
    config = BuildConfig(data_dir=str(tmp_path), **given)
    assert (config.source, config.classes) == (source, classes)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        # Drawn animals are asked for by name.
        ({}, "--source=synthetic draws animals"),
        ({"coco_dir": ""}, "There is nothing to build from"),
        ({"coco_dir": "c", "folder_dir": "f"}, "one source"),
        ({"source": "synthetic", "coco_dir": "c"}, "Received: source=synthetic, coco_dir=c"),
        ({"source": "folder", "coco_dir": "c"}, "Received: source=folder, coco_dir=c"),
        ({"source": "coco", "folder_dir": "f"}, "Received: source=coco, folder_dir=f"),
        ({"source": "camera"}, "must be one of synthetic, coco, folder"),
        ({"images_dir": "i"}, "--annotations together with --images_dir"),
        ({"coco_dir": "c", "images_dir": "i"}, "in place of --coco_dir"),
        ({"folder_dir": "f", "classes": ("cat",)}, "two classes or more apart. Received: "
                                                   "classes=cat"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(given, says, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Received") as error:
        BuildConfig(data_dir=str(tmp_path), **given)
    assert says in str(error.value)


@pytest.mark.parametrize("name", ["coco_dir", "folder_dir"])
@pytest.mark.parametrize("below", ["", "train2017", "new/folder", "train2017/../data"])
def test_dataset_does_not_go_among_its_photographs(name, below, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "photographs")
    for source in ("photographs", "link"):
        with pytest.raises(ValueError, match="must not go among the photographs"):
            BuildConfig(
                data_dir=str(tmp_path / "photographs" / below), **{name: str(tmp_path / source)}
            )
