"""Scores of classifiers: confusion, F1, ROC, calibration, and permutation p-values.

scikit-learn computes ROC AUC, Platt's calibration and class weights. F1 is computed here because
the bootstrap needs it of many confusion matrices at once, and the reliability diagram because
scikit-learn's `calibration_curve` leaves out empty bins and the counts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]

AVERAGES = ("auto", "binary", "macro", "weighted")

_FLAT = 1e-9
"""Largest slope of Platt's mean cross-entropy at its optimum."""

_ROUNDING = 1e-12
"""Tolerance, because sums of the same numbers in another order may differ in the last bits."""


def confusion_matrix(truth: NDArray[Any], predicted: NDArray[Any], n_classes: int) -> Counts:
    """Count how often each true class was predicted as each class.

    Args:
        truth: (n) codes of classes, from 0.
        predicted: (n) codes.
        n_classes: number of classes.

    Returns:
        (n_classes, n_classes) counts: rows are true classes, columns predicted ones.

    Raises:
        ValueError: the lengths differ, or a code is outside 0 to n_classes - 1.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    codes = np.stack((truth, predicted)) if len(truth) == len(predicted) else None
    if codes is None:
        raise ValueError(f"{len(truth)} true classes and {len(predicted)} predicted ones")
    if codes.size and (codes.min() < 0 or codes.max() >= n_classes):
        raise ValueError(f"a class outside 0 to {n_classes - 1}")
    flat = codes[0].astype(np.int64) * n_classes + codes[1].astype(np.int64)
    return np.bincount(flat, minlength=n_classes**2).reshape(n_classes, n_classes)


def accuracy(confusion: Counts) -> float:
    """Return the share of items that were classified correctly; NaN without items.

    Args:
        confusion: (classes, classes).
    """
    total = int(confusion.sum())
    return float(np.trace(confusion) / total) if total else math.nan


def f1_of_classes(confusion: NDArray[Any]) -> Vector:
    """Return the F1 of each class, 2 TP / (2 TP + FP + FN); 0 where that is 0 / 0.

    Args:
        confusion: (..., classes, classes).

    Returns:
        (..., classes).

    Reference: van Rijsbergen (1979); scikit-learn's `f1_score` with `zero_division=0`.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    whole = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    found: Vector = np.zeros_like(hits)
    np.divide(2 * hits, whole, out=found, where=whole > 0)
    return found


def f1(confusion: NDArray[Any], average: str = "auto") -> Vector:
    """Return the F1 of a confusion matrix, or of each of several.

    `binary` is the F1 of the second class, the positive one. `macro` is the mean over the classes
    that occur among the true or predicted ones. `weighted` is the mean over classes, weighted by
    how often each is the true one; the reading study reported it. `auto` is `binary` for two
    classes and `macro` for more.

    Args:
        confusion: (..., classes, classes).
        average: one of `AVERAGES`.

    Returns:
        (...) 0 to 1; NaN without items.

    Raises:
        ValueError: the average is unknown, or `binary` is used with a number of classes other than
            2.

    Reference: scikit-learn's `f1_score` with `zero_division=0`.

    >>> float(f1(np.array([[1, 1], [0, 1]])))
    0.6666666666666666
    """
    n_classes = confusion.shape[-1]
    if average not in AVERAGES or (average == "binary" and n_classes != 2):
        raise ValueError(f"no average {average!r} of {n_classes} classes")
    if average == "auto":
        average = "binary" if n_classes == 2 else "macro"
    each = f1_of_classes(confusion)
    true = confusion.sum(axis=-1).astype(np.float64)
    if average == "binary":
        weights = np.broadcast_to([0.0, 1.0], each.shape)
    elif average == "macro":
        weights = (true + confusion.sum(axis=-2) > 0).astype(np.float64)
    else:
        weights = true
    return _weighted_means(each, np.where(true.sum(axis=-1, keepdims=True) > 0, weights, 0))


def _weighted_means(values: Vector, weights: Vector) -> Vector:
    """Return (...) weighted means over the last axis; NaN where the weights sum to 0."""
    total = weights.sum(axis=-1)
    found: Vector = np.full(total.shape, math.nan)
    np.divide((values * weights).sum(axis=-1), total, out=found, where=total > 0)
    return found


def bootstrap_f1(
    people: NDArray[Any], rng: np.random.Generator, resamples: int, average: str = "auto"
) -> Vector:
    """Return the F1 of all images together, with participants resampled.

    Images of one participant are alike, so participants are drawn with replacement, not images.
    They are drawn from all folds together, because each fold holds few participants and folds
    differ more than resampling within each fold would show.

    Args:
        people: (participants, classes, classes) confusion matrices.
        rng: generator of the draws.
        resamples: number of resamples.
        average: as in `f1`.

    Returns:
        (resamples) for `uncertainty.percentile_interval`; NaN without a participant.

    Reference: Efron (1979); Field and Welsh (2007) on resampling clusters.
    """
    n = len(people)
    if not n:
        return np.full(resamples, math.nan)
    times = np.zeros((resamples, n))
    np.add.at(times, (np.arange(resamples)[:, None], rng.integers(0, n, (resamples, n))), 1)
    return f1(np.tensordot(times, people, axes=1), average)


def roc_auc(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: P(positive scores above negative), ties count half.

    Args:
        scores: (n) finite; only their order matters.
        positive: (n) True for positive items.

    Returns:
        0 to 1; NaN without positive items or without negative ones.

    Raises:
        ValueError: the lengths differ, or a score is NaN.

    Reference: Hanley and McNeil (1982).

    >>> roc_auc(np.array([0.1, 0.4, 0.4]), np.array([False, False, True]))
    0.75
    """
    if len(scores) != len(positive) or np.any(np.isnan(scores)):
        raise ValueError(f"{len(scores)} scores, some NaN, or not of {len(positive)} items")
    if np.all(positive) or not np.any(positive):
        return math.nan
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, scores))


def shuffle_within(
    labels: NDArray[Any], groups: Sequence[str], rng: np.random.Generator
) -> NDArray[Any]:
    """Permute labels within each participant; with only one label, nothing changes.

    Args:
        labels: (n) any codes.
        groups: (n) participant of each item.
        rng: generator of the permutations, which are drawn in the order of sorted names.
    """
    whose = np.asarray(groups)
    found = labels.copy()
    for name in np.unique(whose):
        places = np.flatnonzero(whose == name)
        found[places] = labels[rng.permutation(places)]
    return found


def permutation_p(observed: float, permuted: NDArray[Any] | Sequence[float]) -> float:
    """Return the share of permutations that score at least as high, counting the observed order.

    Args:
        observed: score with the true labels.
        permuted: (n) scores with permuted labels.

    Returns:
        (1 + number of permuted >= observed) / (1 + n), in (0, 1].

    Raises:
        ValueError: a score is NaN.

    Reference: Phipson and Smyth (2010), Permutation p-values should never be zero.

    >>> permutation_p(0.9, [0.4, 0.9, 0.5])
    0.5
    """
    chance = np.asarray(permuted, dtype=np.float64)
    if math.isnan(observed) or np.any(np.isnan(chance)):
        raise ValueError("a score of a permutation test is NaN")
    return (1 + int(np.count_nonzero(chance >= observed - _ROUNDING))) / (1 + len(chance))


@dataclass(frozen=True)
class Reliability:
    """Predicted probability and observed frequency of positives, in bins of the prediction.

    Attributes:
        edges: (bins + 1) of the bins, from 0 to 1; a bin includes its lower edge, the last bin
            both.
        counts: (bins) number of items.
        predicted: (bins) mean predicted probability; NaN in an empty bin.
        observed: (bins) share that is positive; NaN in an empty bin.
    """

    edges: Vector
    counts: Counts
    predicted: Vector
    observed: Vector

    @property
    def error(self) -> float:
        """Expected calibration error: mean over items of |predicted - observed| of their bin.

        Reference: Naeini, Cooper and Hauskrecht (2015).
        """
        total = int(self.counts.sum())
        if not total:
            return math.nan
        full = self.counts > 0
        away = np.abs(self.predicted - self.observed)[full]
        return float(np.dot(self.counts[full], away) / total)


def reliability(
    probabilities: NDArray[Any], positive: NDArray[np.bool_], bins: int = 10
) -> Reliability:
    """Compute the reliability diagram, with bins of equal width.

    Args:
        probabilities: (n) predicted probability of being positive, 0 to 1.
        positive: (n) True for positive items.
        bins: number of bins, at least 1.

    Raises:
        ValueError: a probability is outside 0 to 1, the lengths differ, or `bins` is below 1.

    Reference: Murphy and Winkler (1977).
    """
    predicted = np.asarray(probabilities, dtype=np.float64)
    if len(predicted) != len(positive):
        raise ValueError(f"{len(predicted)} probabilities of {len(positive)} items")
    if not np.all((predicted >= 0) & (predicted <= 1)):
        raise ValueError("a probability outside 0 to 1")
    if bins < 1:
        raise ValueError(f"{bins} bins")
    edges = np.arange(bins + 1) / bins
    code = np.minimum(np.searchsorted(edges, predicted, side="right") - 1, bins - 1)
    counts = np.bincount(code, minlength=bins)
    means = []
    for values in (predicted, positive.astype(np.float64)):
        mean = np.full(bins, math.nan)
        sums = np.bincount(code, values, minlength=bins)
        means.append(np.divide(sums, counts, out=mean, where=counts > 0))
    return Reliability(edges, counts, means[0], means[1])


def class_weights(labels: Iterable[int], n_classes: int) -> Vector:
    """Return weights that give all classes equal influence: n / (classes x images of the class).

    The mean weight over the images is 1, whatever the labels.

    Args:
        labels: class codes of the training images.
        n_classes: number of classes.

    Returns:
        (n_classes); 0 for a class without images, which is then not counted in `classes`.

    Reference: King and Zeng (2001); scikit-learn's `class_weight="balanced"`.

    >>> class_weights([0, 0, 0, 1], 2)
    array([0.66666667, 2.        ])
    """
    from sklearn.utils.class_weight import compute_class_weight

    codes = np.fromiter(labels, dtype=np.int64)
    present = np.unique(codes)
    weights = np.zeros(n_classes)
    weights[present] = compute_class_weight("balanced", classes=present, y=codes)
    return weights


@dataclass(frozen=True)
class Platt:
    """A calibration: probability = 1 / (1 + exp(-(slope x score + offset))).

    Attributes:
        slope: factor of the score.
        offset: summand.
    """

    slope: float
    offset: float

    def probabilities(self, scores: NDArray[Any]) -> Vector:
        """Return the probability of being positive for each score; NaN stays NaN."""
        from scipy.special import expit

        return np.asarray(expit(self.slope * np.asarray(scores, dtype=np.float64) + self.offset))


def fit_platt(scores: NDArray[Any], positive: NDArray[np.bool_]) -> Platt:
    """Fit Platt's logistic calibration, which turns a classifier's scores into probabilities.

    The fit minimises the cross-entropy to Platt's targets: (N+ + 1) / (N+ + 2) for positives and
    1 / (N- + 2) for negatives, in place of 1 and 0. These keep the slope finite where the scores
    separate the two classes. scikit-learn's logistic regression fits it: a target t is an item of
    either class, with the weights t and 1 - t. Scores must come from a model that was not trained
    on these items.

    Args:
        scores: (n) finite, higher = more likely positive.
        positive: (n) True for positive items.

    Raises:
        ValueError: a score is not finite, the lengths differ, positives or negatives are missing,
            or the fit does not converge.

    Reference: Platt (1999); Lin, Lin and Weng (2007), A note on Platt's probabilistic outputs.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    values = np.asarray(scores, dtype=np.float64)
    n_positive = int(np.count_nonzero(positive))
    n_negative = len(positive) - n_positive
    if len(values) != len(positive) or not np.isfinite(values).all():
        raise ValueError(f"{len(values)} scores of {len(positive)} items, or some not finite")
    if not n_positive or not n_negative:
        raise ValueError(f"{n_positive} positive and {n_negative} negative items")
    targets = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    centre, spread = float(values.mean()), float(values.std())
    if spread <= abs(centre) * 1e-12:  # equal scores only give the share of positives
        share = float(targets.mean())
        return Platt(0.0, math.log(share / (1 - share)))
    scaled = np.tile((values - centre) / spread, 2)[:, None]
    classes = np.repeat([1, 0], len(values))
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    with warnings.catch_warnings():
        # given too where the start is the optimum; the slopes of the objective tell the two apart
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(scaled, classes, sample_weight=np.concatenate((targets, 1 - targets)))
    half = scaled[: len(values)]
    missed = fitted.predict_proba(half)[:, 1] - targets
    if max(abs(missed.mean()), abs((missed * half[:, 0]).mean())) > _FLAT:
        raise ValueError("no calibration fits these scores")
    slope = float(fitted.coef_[0, 0]) / spread
    return Platt(slope, float(fitted.intercept_[0]) - slope * centre)


def map_statistics(values: NDArray[Any]) -> Vector:
    """Compute five statistics of an attention map, the features of a simple classifier.

    The map is shifted so that its least value is 0 and scaled to sum 1. Scaling or shifting all
    values together therefore changes none of the five. A constant map counts as uniform, and its
    coverage is 0.

    Args:
        values: (H, W) finite, any range, or (H, W, channels), which is averaged over channels.

    Returns:
        (5) coverage: share of pixels with a value in the upper half of the range from the least to
        the largest value, 0 to 1; entropy: Shannon's, in nats, at most log of the number of
        pixels; centroid: mean column and mean row, in pixels, 0 at the centre of the first one;
        dispersion: root of the mean squared distance from the centroid, in pixels.

    Raises:
        ValueError: the map has other axes, is empty, or is not finite.

    >>> map_statistics(np.array([[0, 0, 4], [0, 0, 4]]))[2]
    2.0
    """
    plane = np.asarray(values, dtype=np.float64)
    plane = plane.mean(axis=2) if plane.ndim == 3 else plane
    if plane.ndim != 2 or not plane.size or not np.all(np.isfinite(plane)):
        raise ValueError(f"statistics of a map of shape {plane.shape}, or not finite")
    # halving first prevents overflow, whatever the range
    heights = plane / 2 - plane.min() / 2
    top = float(heights.max())
    coverage = np.mean(heights >= top / 2) if top else 0.0
    density = heights / top if top else np.ones_like(plane)
    density = density / density.sum()
    known = density[density > 0]
    x, y = density.sum(axis=0), density.sum(axis=1)
    columns, rows = np.arange(len(x)), np.arange(len(y))
    centre_x, centre_y = float(x @ columns), float(y @ rows)
    spread = float(x @ (columns - centre_x) ** 2 + y @ (rows - centre_y) ** 2)
    # the entropy of a single pixel is -0.0; adding 0.0 removes the sign
    entropy = -float(known @ np.log(known)) + 0.0
    return np.array([coverage, entropy, centre_x, centre_y, math.sqrt(spread)])
