import pytest

from trainer.distribution import choose_num_gpus

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
