import subprocess
import sys

import pytest

from trainer.distribute.cluster import Cluster
from trainer.distribute.strategy import choose_num_gpus, create_strategy
from trainer.numerics.summation import sum_in_pairs

TWO = ["/physical_device:GPU:0", "/physical_device:GPU:1"]


@pytest.mark.parametrize(
    ("requested", "visible", "chosen"),
    [(None, [], 0), (None, TWO, 2), (0, TWO, 0), (1, TWO, 1), (2, TWO, 2)],
)
def test_number_of_gpus(requested, visible, chosen) -> None:
    assert choose_num_gpus(requested, visible) == chosen


def test_more_gpus_than_visible_lists_the_visible_ones() -> None:
    with pytest.raises(ValueError, match=r"num_gpus=3; visible: .*GPU:0, .*GPU:1\. Use"):
        choose_num_gpus(3, TWO)


@pytest.mark.parametrize(
    ("terms", "total"),
    [("a", "a"), ("ab", "(a+b)"), ("abc", "((a+b)+c)"), ("abcd", "((a+b)+(c+d))")],
)
def test_parts_are_added_in_pairs(terms, total) -> None:
    class Term(str):
        def __add__(self, other: str) -> "Term":
            return Term(f"({self!s}+{other!s})")

    assert sum_in_pairs([Term(term) for term in terms]) == total


def test_several_cpu_devices_on_several_workers_are_refused() -> None:
    cluster = Cluster(launcher="any", addresses=("a:1", "b:1"), rank=0)
    with pytest.raises(ValueError, match=r"cpu_replicas=2\. Start more workers"):
        create_strategy(0, 2, cluster)


TUNED = """
import tensorflow as tf
from trainer.distribute.strategy import create_strategy

tuned = []
iterate = tf.data.Dataset.__iter__
def note(dataset):
    tuned.append(dataset.options().autotune.enabled)
    return iterate(dataset)
tf.data.Dataset.__iter__ = note
strategy = create_strategy(0, 2)
data = tf.data.Dataset.range(8).batch(4)
for part in strategy.experimental_distribute_dataset(data):
    values = strategy.experimental_local_results(part)
    assert [len(value) for value in values] == [2, 2]
print(tuned)
"""


def test_buffers_on_the_devices_do_not_tune_themselves() -> None:
    command = [sys.executable, "-c", TUNED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "[False, False]"
