"""What is left out of a dataset, and by which rule, in words for a person."""

RULES = {
    "no_instance_of_the_classes": "photographs that show none of the classes",
    "several_classes": "photographs that show more than one of the classes",
    "only_crowds": "photographs on which the class is marked as a crowd alone",
    "smaller_than_min_area": "photographs whose animal is smaller than --min_area",
    "crowd_not_cropped": "crowds, which are never cut out",
    "crop_smaller_than_min_area": "instances smaller than --min_area",
    "box_outside_or_empty": "boxes outside their photograph, or of no size, or not four numbers",
    "annotation_of_unknown_image": "annotations of a photograph that the file does not list",
    "annotation_of_unknown_category": "annotations of a category that the file does not list",
    "near_duplicate_of_another_split": "photographs of train that look like one of another split",
    "two_labels": "photographs that stand under two labels (--conflicts)",
    "no_photograph_by_name": "files that are no photographs, by their names",
    "beside_the_splits": "files in folders beside train, val and test",
    "in_no_class_folder": "photographs in no class folder",
    "rare_class": "photographs of classes with fewer than --min_examples",
}
