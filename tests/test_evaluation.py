import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from tfrecords.manifest import read_manifest
from trainer.data.examples import labels_of
from trainer.data.source import PhotographSource
from trainer.data.split import Split, find_split
from trainer.data.view import View
from trainer.results import evaluation
from trainer.results.selection import select


@pytest.fixture(scope="module")
def split(dataset: Path) -> Split:
    """Nine photographs."""
    return find_split(str(dataset), read_manifest(dataset), "val")


def answers(split: Split, wrong: list[int]) -> np.ndarray:
    """Probabilities that are right but for these examples, of which each next one is surer."""
    labels = labels_of(split)
    confidences = np.full(len(labels), 0.9)
    for rank, index in enumerate(wrong):
        labels[index] = (labels[index] + 1) % len(split.classes)
        confidences[index] = 0.5 + rank / 100
    rest = (1 - confidences) / (len(split.classes) - 1)
    rows = np.repeat(rest[:, None], len(split.classes), axis=1)
    rows[np.arange(len(labels)), labels] = confidences
    return rows.astype(np.float32)


@pytest.mark.parametrize(
    ("wrong", "count", "shown", "wrong_of_these"),
    [
        ([], 4, 4, []),
        ([3, 1], 4, 4, [1, 3]),  # The surer one first.
        ([5, 3, 1], 4, 4, [1, 3]),  # Half of them at most,
        ([8, 7, 6, 5, 4, 3, 2, 1], 4, 4, [1, 2, 3]),  # but for too little that is right.
        ([*range(9)], 4, 4, [8, 7, 6, 5]),
        ([2], 99, 9, [2]),
    ],
)
def test_worst_mistakes_are_shown_before_what_is_right(
    wrong: list[int], count: int, shown: int, wrong_of_these: list[int], split: Split
) -> None:
    probabilities = answers(split, wrong)
    selection = select(labels_of(split), probabilities, count)
    numbers = [*selection.mistakes, *selection.unsure, *selection.others]
    read = evaluation.read_predictions(probabilities, split, numbers, View(96))
    chosen = [read[number] for number in numbers]
    assert len(set(numbers)) == shown
    assert {p.image.shape for p in chosen} == {(96, 96, 3)}
    places = [
        int(np.flatnonzero((probabilities == p.probabilities).all(axis=1))[0])
        for p in chosen
        if p.is_wrong
    ]
    assert places == wrong_of_these
    assert [p.is_wrong for p in chosen] == [True] * len(places) + [False] * (shown - len(places))


def test_batches_of_an_epoch_are_those_of_the_next(split: Split) -> None:
    images = keras.Input((96, 96, 3))
    means = keras.layers.GlobalAveragePooling2D()(images)
    model = keras.Model(images, means)
    batches = evaluation.distributed_batches(model, PhotographSource(View(96)), split, 4)
    first, second = (
        evaluation.predict_batches(model, batches, split.num_examples, batch_size=4)
        for _ in range(2)
    )
    assert len({*map(tuple, first)}) == split.num_examples
    np.testing.assert_array_equal(first, second)


def test_predictions_name_each_example_and_give_every_bit_back(
    split: Split, dataset: Path, tmp_path: Path
) -> None:
    probabilities = answers(split, [4])
    evaluation.write_predictions(Path(tmp_path / "predictions.csv"), probabilities, split)
    with (tmp_path / "predictions.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "file", "label", "predicted", *split.classes]
    assert [row[2] == row[3] for row in rows] == [place != 4 for place in range(9)]
    np.testing.assert_array_equal(np.array([row[4:] for row in rows], np.float32), probabilities)
    annotations = [*(dataset / "synthetic_coco" / "annotations").glob("instances_*.json")]
    listed = [image for path in annotations for image in json.loads(path.read_text())["images"]]
    names = {str(image["id"]): image["file_name"] for image in listed}
    assert [name for _, name, *_ in rows] == [names[number] for number, *_ in rows]
