"""Boxes that are not COCO's [x, y, width, height] in pixels are told by what they look like."""

import pytest

from data_prep.sources import box_checks
from data_prep.sources.box_checks import DrawnBox, doubt_boxes, doubt_sizes
from data_prep.sources.photographs import Photograph
from tfrecords.images import Sizes

SIZE = (64, 48)
SHARE, CORNERS, BOX = (0.1, 0.2, 0.5, 0.6), (30, 20, 60, 44), (8, 8, 40, 30)
WIDE, TALL = (64, 48), (48, 64)


def drawn(*boxes: tuple[float, ...], size: tuple[int, int] = SIZE) -> list[DrawnBox]:
    return [DrawnBox(numbers, size, f"{i}.jpg", i) for i, numbers in enumerate(boxes, 1)]


@pytest.mark.parametrize(
    ("boxes", "looks_like"),
    [
        ([], None),
        (drawn(BOX), None),
        (drawn(SHARE, SHARE), "All 2 boxes"),
        (drawn(SHARE, size=(0, 0)), "All 1 boxes"),  # It shows without a size.
        (drawn((0, 0, 1.001, 1)), "All 1 boxes"),  # As rounding leaves it.
        (drawn(SHARE, BOX), None),  # A tiny box is no fault.
        (drawn(CORNERS, CORNERS, BOX), "2 of 3 boxes"),
        (drawn(CORNERS, (2, 2, 20, 20), (40, 1, 60, 9)), "2 of 3 boxes"),
        (drawn(CORNERS, BOX), None),  # Only one of two: not most of them.
        (drawn((60, 40, 20, 20)), None),  # Beyond the edge, and no two corners either.
        (drawn(CORNERS, CORNERS, (60, 40, 20, 20)), None),
        (drawn((0, 0, 65, 48)), None),  # Sloppy by one pixel.
        (drawn((1, 1, 64, 48)), None),
        (drawn(CORNERS, size=(0, 0)), None),  # Nobody knows.
    ],
)
def test_what_boxes_look_like(boxes, looks_like) -> None:
    doubt = doubt_boxes(boxes, "a.json")
    assert (doubt or "").startswith(looks_like or "\0") == bool(looks_like)
    assert bool(doubt) == bool(looks_like)


def test_doubt_gives_an_example_and_says_how_to_mend_it() -> None:
    doubt = doubt_boxes(drawn(BOX, CORNERS, CORNERS), "a.json") or ""
    assert "a.json" in doubt
    assert "2.jpg, annotation 2, bbox [30, 20, 60, 44] on 64x48 pixels" in doubt
    assert "Write [x1, y1, x2 - x1, y2 - y1]." in doubt


@pytest.mark.parametrize(
    ("annotated", "stored", "shown", "drawn_as_shown", "is_doubted"),
    [
        (WIDE, WIDE, WIDE, False, False),
        (TALL, WIDE, WIDE, False, True),
        (TALL, WIDE, TALL, False, False),  # EXIF turns it, and the tool saw it turned.
        (WIDE, WIDE, TALL, False, False),  # EXIF turns it, and the tool did not care.
        (TALL, WIDE, WIDE, True, False),  # Its boxes do not depend on the annotated size.
        ((128, 96), WIDE, WIDE, False, False),  # Another scale alone moves no box.
        ((0, 0), WIDE, WIDE, False, False),
    ],
)
def test_exchanged_sizes(annotated, stored, shown, drawn_as_shown, is_doubted) -> None:
    photograph = Photograph("/1.jpg", "1.jpg", 1, "", annotated, (), file="train/1.jpg",
                            drawn_as_shown=drawn_as_shown)  # fmt: skip
    other = Photograph("/2.jpg", "2.jpg", 2, "", WIDE, ())  # It cannot be read.
    doubt = doubt_sizes([other, photograph], {"/1.jpg": Sizes(stored, shown)})
    assert bool(doubt) == is_doubted
    if doubt:
        assert doubt.startswith("1 of 1 photographs")
        assert "train/1.jpg has 64x48 pixels and is annotated as 48x64" in doubt


@pytest.mark.parametrize(
    ("annotated", "is_doubted"), [((100, 100), True), ((32, 24), False), ((33, 24), False)]
)
def test_sizes_of_another_shape(annotated, is_doubted) -> None:
    photograph = Photograph("/1.jpg", "1.jpg", 1, "", annotated, (), file="train/1.jpg")
    doubt = doubt_sizes([photograph], {"/1.jpg": Sizes(WIDE, WIDE)})
    assert bool(doubt) == is_doubted
    if doubt:
        assert "train/1.jpg has 64x48 pixels and is annotated as 100x100" in doubt


def test_doubt_is_a_warning_but_for_crops(capsys: pytest.CaptureFixture[str]) -> None:
    for policy in ("single", "largest"):
        box_checks.warn_or_refuse(["Strange, 100 %.", None], policy)
    assert capsys.readouterr().err.splitlines() == ["Warning: Strange, 100 %."] * 2
    box_checks.warn_or_refuse([None], "crop")
    with pytest.raises(ValueError, match="Strange"):
        box_checks.warn_or_refuse([None, "Strange."], "crop")
