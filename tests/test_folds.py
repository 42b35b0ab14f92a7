"""Folds are dealt by class and by photograph, and the same on any machine."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tfrecords.manifest import read_manifest
from trainer.data.dataset import photographs_of, read_examples, read_jpegs, whole_dataset
from trainer.data.examples import labels_of
from trainer.data.folds import check_counts, deal, hold_out


def deal_numbers(labels: list[int], photographs: list[int], num_folds: int, seed: int = 0):
    return deal(labels, photographs, [f"{n}" for n in photographs], num_folds, seed)


@pytest.mark.parametrize(
    ("per_class", "num_folds"), [((7, 12, 5), 5), ((2, 100), 2), ((9,) * 8, 4), ((3, 4, 5), 3)]
)
def test_each_class_and_all_together_are_dealt_evenly(
    per_class: tuple[int, ...], num_folds: int
) -> None:
    labels = [label for label, count in enumerate(per_class) for _ in range(count)]
    folds = deal_numbers(labels, [*range(len(labels))], num_folds)
    for group in (range(len(labels)), *map(np.array(labels).__eq__, range(len(per_class)))):
        sizes = np.bincount(folds[group], minlength=num_folds)
        assert sizes.max() - sizes.min() <= 1, sizes


def test_examples_of_a_photograph_stay_together() -> None:
    labels = [0, 0, 1, 1, 0, 1, 0, 1, 0, 1]
    photographs = [0, 0, 0, 3, 4, 5, 3, 7, 8, 7]  # One has three examples, two have two classes.
    folds = deal_numbers(labels, photographs, 2)
    for photograph in photographs:
        assert len({f for f, p in zip(folds, photographs, strict=True) if p == photograph}) == 1
    for label in (0, 1):  # Nevertheless each fold has each class.
        assert len({f for f, of in zip(folds, labels, strict=True) if of == label}) == 2


def test_folds_depend_on_seed_and_photographs_alone() -> None:
    labels = [*range(3)] * 6
    names = [f"{n}.jpg" for n in range(18)]
    folds = deal(labels, [*range(18)], names, 3)
    assert folds.tolist() == EXPECTED  # Whatever the machine.
    order = np.random.default_rng(0).permutation(18)
    again = deal([labels[i] for i in order], [*range(18)], [names[i] for i in order], 3)
    assert again.tolist() == folds[order].tolist()
    assert deal(labels, [*range(18)], names, 3, seed=1).tolist() != folds.tolist()


EXPECTED = [2, 0, 1, 1, 2, 2, 1, 1, 2, 2, 0, 0, 0, 2, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("names", "photographs"),
    [
        ([], []),
        (["a", "b", "c"], [0, 1, 2]),
        (["aA", "bA", "cC"], [0, 0, 2]),  # Copies under two names.
        (["aA", "aB", "cC"], [0, 0, 2]),  # Crops of one file.
        (["aA", "bB", "cC", "bA"], [0, 0, 2, 0]),  # A third joins two that have nothing in common.
    ],
)
def test_crops_and_copies_are_of_one_photograph(names: list[str], photographs: list[int]) -> None:
    assert photographs_of([tuple(name) for name in names]).tolist() == photographs


@pytest.mark.parametrize(
    ("labels", "photographs", "complaint"),
    [
        ([0, 0, 1, 1], [0, 1, 2, 3], None),
        ([0, 0, 0, 1], [0, 1, 2, 3], r"Received: 1 of cat, for 2 folds. Take photographs of more"),
        ([0, 0, 1, 1], [0, 1, 2, 2], r"Received: 1 of cat,"),  # Two crops of one.
        ([1, 1, 1], [0, 1, 2], r"Received: 0 of bear, for 2 folds"),
    ],
)
def test_class_of_too_few_photographs_is_refused(
    labels: list[int], photographs: list[int], complaint: str | None
) -> None:
    if complaint is None:
        check_counts(labels, photographs, ["bear", "cat"], 2)
    else:
        with pytest.raises(ValueError, match=complaint):
            check_counts(labels, photographs, ["bear", "cat"], 2)


def test_each_example_is_held_out_once_and_trained_on_else(dataset: Path) -> None:
    manifest = read_manifest(dataset)
    held = [hold_out(str(dataset), manifest, fold, 3, seed=0) for fold in (1, 2, 3)]
    assert sorted(itertools.chain(*(one.val.members for one in held))) == [*range(50)]
    for train, val, counts in held:
        assert sorted([*train.members, *val.members]) == [*range(50)]
        assert (train.num_examples, val.num_examples) == (50 - len(val.members), len(val.members))
        found = Counter(manifest.classes[label] for label in labels_of(train))
        assert counts == {name: found[name] for name in manifest.classes}


def test_dataset_is_read_as_tensorflow_reads_it(dataset: Path) -> None:
    whole = whole_dataset(str(dataset), read_manifest(dataset))
    examples = read_examples(whole)
    np.testing.assert_array_equal(examples.index.labels, labels_of(whole))
    assert len(set(examples.files)) == 50
    assert read_jpegs(whole, [1, 49]).keys() == {1, 49}


def test_damaged_shard_is_named(dataset: Path, tmp_path: Path) -> None:
    whole = whole_dataset(str(dataset), read_manifest(dataset))
    content = bytearray(Path(whole.paths[2]).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "shard").write_bytes(content)
    whole.paths[2] = str(tmp_path / "shard")
    with pytest.raises(ValueError, match=rf"A shard is damaged. Received: {whole.paths[2]}, rec"):
        read_examples(whole)
