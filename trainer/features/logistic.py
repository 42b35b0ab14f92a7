"""The convex start: the linear head as the logistic regression of the training features.

A linear classifier on frozen features has one best set of weights, which L-BFGS finds in seconds;
training that starts there keeps what the features know (Kumar et al., Fine-Tuning can Distort
Pretrained Features, ICLR 2022).
"""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
import sklearn.exceptions
import sklearn.linear_model
import sklearn.model_selection
import threadpoolctl

# What the strength is chosen among: scikit-learn's C, the inverse of the penalty on the weights.
_STRENGTHS = tuple(10 ** (exponent / 2) for exponent in range(-12, 4))
_FOLDS = 5
_MOST_GROUPS = 4000  # Of photographs that choose the strength: more change it little.
_MOST_STEPS = 1000
_VARIANCE_FLOOR = 1e-6
_NEVER = 10.0  # How far below all others the logit of a class stands that was never seen.


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """What a linear classifier is fitted to: a row for each view of each example.

    Attributes:
        features: float32 [num_rows, length].
        labels: int64 [num_rows].
        groups: Which photograph a row shows, int64 [num_rows]: its views stay together.
        weights: Of the rows in the loss, float [num_rows]; None: all the same.
    """

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    weights: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "Rows":
        """Returns some of the rows, by their numbers."""
        weights = None if self.weights is None else self.weights[rows]
        return Rows(self.features[rows], self.labels[rows], self.groups[rows], weights)


@dataclasses.dataclass(frozen=True, eq=False)
class LinearHead:
    """A softmax of `features @ kernel + bias`.

    Attributes:
        kernel: float32 [length, num_classes].
        bias: float32 [num_classes].
        strength: Inverse of the penalty that it was fitted under.
        inner_loss: Mean cross-entropy over the inner folds, in nats; None: too few photographs of
            a class to hold any out.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    inner_loss: float | None


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance of each number, float32 [length]; none that never varies."""
    exact = features.astype(np.float64)
    variance = exact.var(axis=0)
    return (
        exact.mean(axis=0).astype(np.float32),
        np.where(variance < _VARIANCE_FLOOR, 1.0, variance).astype(np.float32),
    )


def fit(rows: Rows, num_classes: int, seed: int) -> LinearHead:
    """Fits a linear head to convergence; the same rows give the same bits, on any number of cores.

    The strength is the one of the lowest cross-entropy over inner folds of the rows, which are
    stratified by class and keep the views of a photograph together.

    Args:
        rows: What it is fitted to; a class may be missing.
        num_classes: How many columns the kernel has.
        seed: Deals the folds.
    """
    with threadpoolctl.threadpool_limits(1):  # More threads add up in another order.
        strength, inner_loss = _choose_strength(rows, num_classes, seed)
    return dataclasses.replace(fit_at(rows, num_classes, strength), inner_loss=inner_loss)


def fit_at(rows: Rows, num_classes: int, strength: float) -> LinearHead:
    """Fits a linear head of a strength that is known, as `fit` does."""
    with threadpoolctl.threadpool_limits(1):
        [(kernel, bias)] = _fit(rows, num_classes, [strength])
    return LinearHead(kernel.astype(np.float32), bias.astype(np.float32), strength, None)


def _choose_strength(rows: Rows, num_classes: int, seed: int) -> tuple[float, float | None]:
    rows = rows.take(_sample(rows, seed))
    photographs = [len(np.unique(rows.groups[rows.labels == c])) for c in np.unique(rows.labels)]
    num_folds = min(_FOLDS, *photographs)
    if num_folds < 2:
        return _STRENGTHS[len(_STRENGTHS) // 2], None
    losses = np.zeros(len(_STRENGTHS))
    folds = sklearn.model_selection.StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    for inside, outside in folds.split(rows.features, rows.labels, rows.groups):
        held_out = rows.take(outside)
        heads = _fit(rows.take(inside), num_classes, _STRENGTHS)
        losses += [_cross_entropy(held_out, kernel, bias) for kernel, bias in heads]
    best = int(losses.argmin())
    return _STRENGTHS[best], float(losses[best] / len(rows.labels))


def _sample(rows: Rows, seed: int) -> np.ndarray:
    """Returns the numbers of the rows of at most so many photographs."""
    groups = np.unique(rows.groups)
    if len(groups) > _MOST_GROUPS:
        groups = np.random.default_rng(seed).choice(groups, _MOST_GROUPS, replace=False)
    return np.flatnonzero(np.isin(rows.groups, groups))


def _fit(
    rows: Rows, num_classes: int, strengths: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (kernel, bias) for each strength, each found from the one before."""
    present = np.unique(rows.labels)
    if len(present) < 2:
        return [_only(present, rows.features.shape[1], num_classes)] * len(strengths)
    features = rows.features.astype(np.float64)
    model = sklearn.linear_model.LogisticRegression(max_iter=_MOST_STEPS, warm_start=True)
    heads = []
    for strength in strengths:
        model.set_params(C=strength)
        with warnings.catch_warnings():  # What is that far is far enough.
            warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
            model.fit(features, rows.labels, rows.weights)
        heads.append(_columns(model, num_classes))
    return heads


def _columns(
    model: sklearn.linear_model.LogisticRegression, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weights of a softmax over all classes; one that was never seen gets none."""
    coefficients, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # Of two classes scikit-learn keeps the difference.
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    kernel = np.zeros([coefficients.shape[1], num_classes])
    bias = np.full(num_classes, intercepts.min() - _NEVER)
    kernel[:, model.classes_] = coefficients.T
    bias[model.classes_] = intercepts
    return kernel, bias


def _only(present: np.ndarray, length: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The head where all rows are of one class."""
    bias = np.full(num_classes, -_NEVER)
    bias[present] = 0.0
    return np.zeros([length, num_classes]), bias


def _cross_entropy(rows: Rows, kernel: np.ndarray, bias: np.ndarray) -> float:
    """The sum over rows, in nats."""
    logits = rows.features.astype(np.float64) @ kernel + bias
    logits -= logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(logits).sum(axis=1))
    losses = log_sums - logits[np.arange(len(logits)), rows.labels]
    return float(np.average(losses, weights=rows.weights) * len(losses))
