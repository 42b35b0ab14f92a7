import pytest

from tfrecords import naming, order


@pytest.mark.parametrize(
    ("examples", "mib", "shards"),
    [
        (3, 1, 3),  # Never more shards than examples.
        (500, 1, 8),  # At least 8, so that several readers find work.
        (500, 64 * 20, 20),  # 64 MiB each.
        (500, 64 * 20 + 1, 21),
    ],
)
def test_number_of_shards(examples, mib, shards) -> None:
    assert order.choose_num_shards(examples, mib * 2**20, shard_mib=64) == shards


@pytest.mark.parametrize(("items", "shards"), [(10, 3), (8, 8), (5, 1)])
def test_every_item_is_dealt_once_and_evenly(items, shards) -> None:
    dealt = order.deal(list(range(items)), shards)
    assert sum(dealt, []) == list(range(items))  # noqa: RUF017
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_more_shards_than_items_are_refused() -> None:
    with pytest.raises(ValueError, match="num_shards=3, examples=2"):
        order.deal([1, 2], 3)


def test_shard_name_knows_its_split() -> None:
    name = naming.shard_name("val", 2, 8)
    assert name == "coco_animals-val.tfrecord-00002-of-00008"
    assert naming.split_of(name) == "val"
