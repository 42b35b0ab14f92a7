"""Labels that are wrong are found by models that have not seen them."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import scale

from trainer.results import label_issues


def test_swapped_labels_are_among_the_first_that_are_named() -> None:
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = scale(pixels[:600]), labels[:600].copy()
    swapped = np.random.default_rng(0).choice(600, 10, replace=False)
    labels[swapped] = (labels[swapped] + 3) % 10
    said = cross_val_predict(
        LogisticRegression(max_iter=200), pixels, labels, cv=3, method="predict_proba"
    )
    found = label_issues.find(labels, said)
    assert len({issue.number for issue in found[:20]} & {*swapped}) >= 9
    for issue in found:
        assert issue.label == labels[issue.number] != issue.suggested
    right = [issue for issue in found if issue.number in swapped]
    assert np.mean([issue.suggested == (issue.label - 3) % 10 for issue in right]) > 0.8


def test_least_probable_labels_come_first() -> None:
    said = np.array([[0.9, 0.1], [0.2, 0.8], [0.05, 0.95], [0.6, 0.4], [0.3, 0.7]])
    labels = np.array([0, 0, 0, 1, 1])
    found = label_issues.find(labels, said)
    assert [(issue.number, issue.suggested) for issue in found] == [(2, 1), (1, 1), (3, 0)]
    # The mean of class 0 among its own is 0.38, that of class 1 among its own 0.55.
    assert [issue.is_confident for issue in found] == [True, True, True]
    unsure = np.array([[0.9, 0.1], [0.1, 0.9], [0.45, 0.55]])
    [issue] = label_issues.find(np.array([0, 1, 0]), unsure)
    assert (issue.number, issue.is_confident) == (2, False)


def test_none_is_doubted_where_all_is_right_nor_for_a_class_that_nowhere_occurs() -> None:
    assert label_issues.find(np.array([0, 1]), np.eye(2)) == []
    [issue] = label_issues.find(np.array([0, 0]), np.array([[0.6, 0.4], [0.4, 0.6]]))
    assert (issue.number, issue.is_confident) == (1, False)
