"""What is left out of a dataset: each rule by its name and in words for a person."""

import enum
from typing import Self


class Rule(enum.StrEnum):
    """A reason to leave something out, counted in the manifest's `dropped` by its name.

    Attributes:
        words: What the rule leaves out, after a number: "3 photographs that show none of ...".
    """

    words: str

    def __new__(cls, name: str, words: str = "") -> Self:
        """The member with this name as its value."""
        rule = str.__new__(cls, name)
        rule._value_ = name
        rule.words = words
        return rule

    NO_INSTANCE = "no_instance_of_the_classes", "photographs that show none of the classes"
    SEVERAL_CLASSES = "several_classes", "photographs that show more than one of the classes"
    ONLY_CROWDS = "only_crowds", "photographs on which the class is marked as a crowd alone"
    SMALL = "smaller_than_min_area", "photographs whose animal is smaller than --min_area"
    CROWD_NOT_CROPPED = "crowd_not_cropped", "crowds, which are never cut out"
    SMALL_CROP = "crop_smaller_than_min_area", "instances smaller than --min_area"
    BAD_BOX = (
        "box_outside_or_empty",
        "boxes outside their photograph, or of no size, or not four numbers",
    )
    UNKNOWN_IMAGE = (
        "annotation_of_unknown_image",
        "annotations of a photograph that the file does not list",
    )
    UNKNOWN_CATEGORY = (
        "annotation_of_unknown_category",
        "annotations of a category that the file does not list",
    )
    NEAR_DUPLICATE = (
        "near_duplicate_of_another_split",
        "photographs of train that look like one of another split",
    )
    TWO_LABELS = "two_labels", "photographs that stand under two labels (--conflicts)"
    NO_PHOTOGRAPH = "no_photograph_by_name", "files that are no photographs, by their names"
    BESIDE_SPLITS = "beside_the_splits", "files in folders beside train, val and test"
    NO_CLASS_FOLDER = "in_no_class_folder", "photographs in no class folder"
    RARE_CLASS = "rare_class", "photographs of classes with fewer than --min_examples"
