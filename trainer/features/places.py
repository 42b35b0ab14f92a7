"""What a classifier of places is fitted to: places in and beside the boxes of training photographs.

A photograph's boxes say where its animals are, so that each place of a feature map has a label: the
class whose box it lies in, or background.
"""

from collections.abc import Callable

import numpy as np

from tfrecords import reader
from trainer.data import records
from trainer.data.split import Split
from trainer.data.view import View
from trainer.features.logistic import Rows

# The inverse of the penalty, on standardized features: measured in docs/results.md. Between 0.001
# and 0.01 it matters little, and inner folds over so many rows would take minutes.
STRENGTH = 0.003

_INSIDE, _BESIDE = 15, 10  # Places of a photograph, at most.
_MOST_PHOTOGRAPHS = 4000
_UNKNOWN = -1


def rows_of_places(
    split: Split,
    view: View,
    maps: Callable[[np.ndarray, int], np.ndarray],
    numbers: np.ndarray,
    seed: int,
) -> Rows:
    """Returns the places of the kept views of a split's photographs, drawn by a seed.

    Args:
        split: Whose examples carry boxes.
        view: How photographs become squares; cut-out views have no places.
        maps: Returns the feature maps, float32 [n, rows, columns, channels], of one kept view of
            examples, by their numbers in the shards.
        numbers: The examples, int64 [num_examples].
        seed: Draws the places.

    Returns:
        Rows whose labels are the classes', and behind them that of the background.
    """
    rng = np.random.default_rng(seed)
    if len(numbers) > _MOST_PHOTOGRAPHS:
        numbers = np.sort(rng.choice(numbers, _MOST_PHOTOGRAPHS, replace=False))
    wanted = dict.fromkeys(numbers.tolist())
    features, labels, groups = [], [], []
    for number, serialized in enumerate(records.read_all(split)):
        if number not in wanted:
            continue
        example = reader.parse_objects(serialized)
        for kept, shown in enumerate(view.kept_views):
            if shown.of != "photograph":
                continue
            [found] = maps(np.array([number]), kept)
            boxes = view.in_square(example.boxes, example.shape, shown.mirrored)
            whole = view.in_square(np.array([[0.0, 0.0, 1.0, 1.0]]), example.shape, shown.mirrored)
            of_places = label_places(
                found.shape[:2], boxes, example.labels, whole[0], len(split.classes)
            )
            for rows, columns in _draw(of_places, len(split.classes), rng):
                features.append(found[rows, columns])
                labels.append(of_places[rows, columns])
                groups.append(np.full(len(rows), number))
    return Rows(np.concatenate(features), np.concatenate(labels), np.concatenate(groups))


def label_places(
    shape: tuple[int, int],
    boxes: np.ndarray,
    labels: np.ndarray,
    whole: np.ndarray,
    background: int,
) -> np.ndarray:
    """Returns the label of each place of a map, int64 [rows, columns]; -1 outside the photograph.

    A later box lies above an earlier one. A box too small for the middle of any place is at the
    nearest one.

    Args:
        shape: The map's rows and columns.
        boxes: float [n, 4] in shares of the square: first row and column, last row and column.
        labels: Of the boxes, int [n].
        whole: The photograph's own box, float [4].
        background: The label of what lies in no box.
    """
    middles = [(np.arange(length) + 0.5) / length for length in shape]
    places = np.full(shape, _UNKNOWN, np.int64)
    for box, label in zip([whole, *boxes], [background, *labels], strict=True):
        if (box[2:] <= 0).any() or (box[:2] >= 1).any():
            continue  # Cut off with the rim of the photograph.
        rows, columns = (_between(at, box[axis], box[axis + 2]) for axis, at in enumerate(middles))
        places[np.ix_(rows, columns)] = label
    return places


def _between(middles: np.ndarray, first: float, last: float) -> np.ndarray:
    """Returns the indices of the middles from first to last; of the nearest if there are none."""
    inside = np.flatnonzero((first <= middles) & (middles <= last))
    return inside if len(inside) else np.atleast_1d(np.abs(middles - (first + last) / 2).argmin())


def _draw(
    places: np.ndarray, background: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (rows, columns) of drawn places, in boxes and beside them."""
    is_inside = (places != _UNKNOWN) & (places != background)
    drawn = []
    for is_there, most in ((is_inside, _INSIDE), (places == background, _BESIDE)):
        found = np.argwhere(is_there)
        rows, columns = rng.permutation(found)[:most].T
        drawn.append((rows, columns))
    return drawn
