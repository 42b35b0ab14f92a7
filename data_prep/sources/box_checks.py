"""Tells by their numbers when boxes are not what COCO's are: [x, y, width, height] in pixels."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from data_prep.sources.photographs import Photograph

if TYPE_CHECKING:
    from tfrecords.images import Sizes

_SLACK = 0.02  # Boxes reach so far beyond an edge, as a share of the side, by sloppiness alone.
_NEARLY_ALL, _FEW = 0.95, 0.1


class DrawnBox(NamedTuple):
    """A box as its file writes it, with a width and height above 0.

    Attributes:
        numbers: As the file writes them; COCO's would be x, y, width, height in pixels.
        size: (width, height) of the annotated image, in pixels; (0, 0) if unknown.
        file: The photograph, as messages name it.
        annotation_id: The annotation, as messages name it.
    """

    numbers: tuple[float, float, float, float]
    size: tuple[int, int]
    file: str
    annotation_id: int | str


def doubt_boxes(boxes: Sequence[DrawnBox], where: str) -> str | None:
    """Says what the boxes of one annotation file look like, if not like COCO's.

    Args:
        boxes: A sample of the file's boxes.
        where: The file, as messages name it.
    """
    if boxes and all(_within_one(box) for box in boxes):
        return (
            f"All {len(boxes)} boxes that were looked at in {where} lie within 0..1: they look "
            f"like shares of the photograph, not like pixels. The first: {_shown(boxes[0])}. "
            "Multiply x and width by the photograph's width, y and height by its height."
        )
    sized = [box for box in boxes if box.size != (0, 0)]
    beyond = [box for box in sized if _reaches_beyond(box)]
    if 2 * len(beyond) <= len(sized):
        return None
    if sum(map(_fits_as_corners, sized)) < _NEARLY_ALL * len(sized):
        return None
    width, height = beyond[0].size
    return (
        f"{len(beyond)} of {len(sized)} boxes that were looked at in {where} reach beyond their "
        "photograph, and nearly all fit as two corners: they look like [x1, y1, x2, y2], not like "
        f"[x, y, width, height]. The first: {_shown(beyond[0])} on {width}x{height} pixels. Write "
        "[x1, y1, x2 - x1, y2 - y1]."
    )


def doubt_sizes(photographs: Iterable[Photograph], sizes: "Mapping[str, Sizes]") -> str | None:
    """Says how many photographs are annotated with width and height exchanged.

    Args:
        photographs: Those that have boxes.
        sizes: {path: sizes}; a photograph without an entry is skipped.
    """
    looked_at = [p for p in photographs if p.path in sizes and not p.drawn_as_shown]
    exchanged = [p for p in looked_at if _is_exchanged(p.size, sizes[p.path])]
    if not exchanged:
        return _doubt_shapes(looked_at, sizes)
    return (
        f"{len(exchanged)} of {len(looked_at)} photographs looked at are annotated with width and "
        f"height exchanged, and their EXIF does not turn them: their boxes lie elsewhere. The "
        f"first: {_both_sizes(exchanged[0], sizes)}. Exchange the two in the annotations, or turn "
        "the photographs as they were when they were labelled."
    )


def _doubt_shapes(looked_at: Sequence[Photograph], sizes: "Mapping[str, Sizes]") -> str | None:
    """Says how many photographs are annotated at a size of another shape than they have.

    A few may have been replaced since. A tool that gets sizes wrong does so everywhere.
    """
    others = [p for p in looked_at if _is_of_another_shape(p.size, sizes[p.path])]
    if len(others) <= _FEW * len(looked_at):
        return None
    return (
        f"{len(others)} of {len(looked_at)} photographs looked at are annotated at a size of "
        f"another shape than they have: their boxes lie elsewhere. The first: "
        f"{_both_sizes(others[0], sizes)}. Give the photographs that were labelled, or their sizes "
        "in the annotations."
    )


def _both_sizes(photograph: Photograph, sizes: "Mapping[str, Sizes]") -> str:
    width, height = sizes[photograph.path].stored
    annotated = "x".join(map(str, photograph.size))
    return f"{photograph.file} has {width}x{height} pixels and is annotated as {annotated}"


def warn_or_refuse(doubts: Iterable[str | None], label_policy: str) -> None:
    """Warns of each doubt, or refuses to make crops: a crop of a wrong box shows something else.

    Raises:
        ValueError: with the first doubt, if crops are asked for.
    """
    for doubt in doubts:
        if doubt and label_policy == "crop":
            raise ValueError(f"{doubt} Received: --label_policy=crop, which needs right boxes.")
        if doubt:
            print(f"Warning: {doubt}", file=sys.stderr, flush=True)


def _within_one(box: DrawnBox) -> bool:
    return min(box.numbers) >= -_SLACK and max(box.numbers) <= 1 + _SLACK


def _reaches_beyond(box: DrawnBox) -> bool:
    x, y, width, height = box.numbers
    right, bottom = map(_with_slack, box.size)
    return x + width > right or y + height > bottom


def _fits_as_corners(box: DrawnBox) -> bool:
    x, y, x2, y2 = box.numbers
    right, bottom = map(_with_slack, box.size)
    return x < x2 <= right and y < y2 <= bottom


def _with_slack(side: int) -> float:
    return side + max(1, _SLACK * side)


def _is_exchanged(annotated: tuple[int, int], sizes: "Sizes") -> bool:
    width, height = sizes.stored
    return annotated == (height, width) and annotated not in (sizes.stored, sizes.shown)


def _is_of_another_shape(annotated: tuple[int, int], sizes: "Sizes") -> bool:
    """Whether its aspect ratio is neither that of the pixels nor that as they are shown."""
    if min(annotated) <= 0:
        return False
    return all(
        abs(annotated[0] * height - annotated[1] * width)
        > _SLACK * annotated[1] * width + max(*annotated, width, height)  # Rounded to a pixel.
        for width, height in (sizes.stored, sizes.shown)
    )


def _shown(box: DrawnBox) -> str:
    return f"{box.file}, annotation {box.annotation_id}, bbox {list(box.numbers)}"
