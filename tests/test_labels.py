import msgspec
import pytest

from data_prep.examples import labels
from data_prep.sources.photographs import Photograph
from tfrecords.schema import Box, Object

CAT, DOG = 0, 1
LARGE, SMALL = Box(0.0, 0.0, 0.5, 1.0), Box(0.8, 0.8, 0.9, 0.9)  # Half and 1 % of the image.


def animal(label: int, box: Box = LARGE, *, is_crowd: bool = False) -> Object:
    return Object(box, label, is_crowd, box.area)


def photograph(*objects: Object) -> Photograph:
    return Photograph("/1.jpg", "1.jpg", 1, "train", (100, 100), objects)


@pytest.mark.parametrize(
    ("policy", "objects", "min_area", "found", "dropped"),
    [
        ("single", [animal(CAT)], 0, [CAT], {}),
        ("single", [animal(CAT), animal(CAT, SMALL)], 0.02, [CAT], {}),  # The largest counts.
        ("single", [animal(CAT), animal(DOG, SMALL)], 0, [], {"several_classes": 1}),
        ("single", [animal(CAT, SMALL)], 0.02, [], {"smaller_than_min_area": 1}),
        ("single", [], 0, [], {"no_instance_of_the_classes": 1}),
        # A crowd never decides, and one of another class leaves the label unclear.
        ("single", [animal(CAT, is_crowd=True)], 0, [], {"only_crowds": 1}),
        ("single", [animal(CAT), animal(CAT, is_crowd=True)], 0, [CAT], {}),
        ("single", [animal(CAT), animal(DOG, is_crowd=True)], 0, [], {"several_classes": 1}),
        ("largest", [animal(CAT, SMALL), animal(DOG)], 0, [DOG], {}),
        ("largest", [animal(CAT, SMALL), animal(DOG, is_crowd=True)], 0, [CAT], {}),
        ("crop", [animal(CAT), animal(DOG, SMALL)], 0, [CAT, DOG], {}),
        ("crop", [animal(CAT), animal(DOG, SMALL)], 0.02, [CAT], {"crop_smaller_than_min_area": 1}),
        ("crop", [animal(CAT), animal(DOG, is_crowd=True)], 0, [CAT], {"crowd_not_cropped": 1}),
        ("crop", [], 0, [], {"no_instance_of_the_classes": 1}),
    ],
)
def test_policy(policy, objects, min_area, found, dropped) -> None:
    candidates, counts = labels.choose(
        [photograph(*objects)], policy=policy, min_area=min_area, crop_margin=0.1
    )
    assert [candidate.label for candidate in candidates] == found
    assert counts == dropped


@pytest.mark.parametrize("policy", ["single", "largest"])
def test_label_of_a_whole_photograph_needs_no_box_and_no_area(policy: str) -> None:
    whole = msgspec.structs.replace(photograph(), label=DOG)
    several = msgspec.structs.replace(photograph(), has_several_labels=True)
    candidates, counts = labels.choose(
        [whole, several], policy=policy, min_area=0.5, crop_margin=0.1
    )
    assert [candidate.label for candidate in candidates] == [DOG]
    assert counts == {"several_classes": 1}


def test_largest_does_not_depend_on_the_order_in_the_file() -> None:
    objects = [animal(CAT), animal(DOG, Box(0.5, 0.0, 1.0, 1.0))]  # Equal areas.
    found = [
        labels.choose([photograph(*order)], policy="largest", min_area=0, crop_margin=0)[0][0].label
        for order in (objects, objects[::-1])
    ]
    assert found[0] == found[1]


def test_crop_is_widened_and_stays_inside() -> None:
    [crop], _ = labels.choose(
        [photograph(animal(CAT, Box(0.0, 0.4, 0.5, 0.6)))],
        policy="crop", min_area=0, crop_margin=0.5,
    )  # fmt: skip
    box = crop.crop
    assert (box.ymin, box.xmin, box.ymax, box.xmax) == pytest.approx((0.0, 0.3, 0.75, 0.7))


def test_objects_follow_into_the_crop() -> None:
    inside, across = Box(0.25, 0.25, 0.5, 0.5), Box(0.4, 0.4, 0.8, 0.8)
    outside = Box(0.6, 0.6, 0.9, 0.9)
    found = labels.objects_in(
        [animal(CAT, b) for b in (inside, across, outside)], Box(0, 0, 0.5, 0.5)
    )
    corners = [(o.box.ymin, o.box.xmin, o.box.ymax, o.box.xmax) for o in found]
    assert corners == [pytest.approx((0.5, 0.5, 1.0, 1.0)), pytest.approx((0.8, 0.8, 1.0, 1.0))]
