"""Logistic regression on a few numbers: the simple classifier that networks are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from clickmap_cli.runtime.errors import DataError, RunError

Array = NDArray[np.float64]

_MAX_STEPS = 200
_LEAST_STEP = 1e-10
_FLAT = 1e-9
"""Largest gradient accepted at the optimum, as a share of the images' total weight."""


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression.

    Attributes:
        mean: (features) means of the training data.
        scale: (features) standard deviations of the training data; 1 for a constant feature.
        weights: (features + 1, classes) of standardised features, the constant last.
    """

    mean: Array
    scale: Array
    weights: Array

    def probabilities(self, features: NDArray[Any]) -> Array:
        """Return (n, classes) probabilities for (n, features), each row summing to 1."""
        return np.asarray(softmax(_with_one((features - self.mean) / self.scale) @ self.weights, 1))

    def predict(self, features: NDArray[Any]) -> NDArray[np.int64]:
        """Return (n) codes of the most probable classes."""
        codes: NDArray[np.int64] = self.probabilities(features).argmax(axis=1)
        return codes


def fit_logistic(
    features: NDArray[Any],
    labels: NDArray[Any],
    n_classes: int,
    l2: float = 1.0,
    weights: NDArray[Any] | None = None,
) -> Logistic:
    """Fit by Newton's method, in float64, on features standardised by their own mean and deviation.

    The objective is the sum over images of weight x negative log likelihood, plus l2 / 2 times the
    sum of squared weights of features; constants are not penalised. For two classes the penalty
    applies to the difference of their weights, for more classes to each class's own weights
    (multinomial), as in scikit-learn, whose C is 1 / l2.

    Args:
        features: (n, features) finite.
        labels: (n) codes of classes, from 0.
        n_classes: number of classes.
        l2: strength of the penalty, above 0.
        weights: (n) weights of images, above 0; None = 1.

    Raises:
        DataError: a class has no image, or a feature is not finite.
        RunError: the fit does not converge.

    Reference: Cox (1958); Hastie, Tibshirani and Friedman (2009), section 4.4.
    """
    raw, weight = _checked(features, labels, n_classes, weights)
    mean, scale = raw.mean(axis=0), raw.std(axis=0)
    # a constant may differ from its mean in the last bits
    scale[scale <= 1e-12 * np.abs(mean)] = 1.0
    problem = _Problem(_with_one((raw - mean) / scale), np.eye(n_classes)[labels], weight, l2)
    free = problem.solved()
    return Logistic(mean, scale, free @ problem.share)


def _checked(
    features: NDArray[Any], labels: NDArray[Any], n_classes: int, weights: NDArray[Any] | None
) -> tuple[Array, Array]:
    raw = np.asarray(features, dtype=np.float64)
    counts = np.bincount(labels, minlength=n_classes)
    absent = np.flatnonzero(counts == 0)
    if len(absent):
        raise DataError(f"Logistic regression: class {absent[0]} has no image to learn from.")
    if not np.all(np.isfinite(raw)):
        raise DataError("Logistic regression: a feature is not finite.")
    weight = np.ones(len(raw)) if weights is None else np.asarray(weights, dtype=np.float64)
    return raw, weight


def _with_one(features: Array) -> Array:
    return np.column_stack((features, np.ones(len(features))))


class _Problem:
    """The objective as a function of (features + 1, free) weights.

    Two classes have one free column, the difference; more classes have one column each.
    """

    def __init__(self, inputs: Array, targets: Array, weight: Array, l2: float) -> None:
        n_classes = targets.shape[1]
        self.share = np.array([[0.0, 1.0]]) if n_classes == 2 else np.eye(n_classes)
        self._inputs = inputs
        self._targets = targets
        self._weight = weight
        self._penalty = np.full((inputs.shape[1], 1), l2)
        self._penalty[-1] = 0

    def value(self, free: Array) -> float:
        """Return the objective."""
        logs = log_softmax(self._inputs @ free @ self.share, axis=1)
        likelihood = self._weight @ (self._targets * logs).sum(axis=1)
        return float(np.sum(self._penalty * free**2) / 2 - likelihood)

    def slope(self, free: Array) -> Array:
        """Return the gradient of the objective, in the shape of the weights."""
        away = softmax(self._inputs @ free @ self.share, axis=1) - self._targets
        pull = self._inputs.T @ (self._weight[:, None] * away) @ self.share.T
        return np.asarray(pull + self._penalty * free)

    def curvature(self, free: Array) -> Array:
        """Return the (all, all) second derivative, with weights in `ravel` order."""
        p = softmax(self._inputs @ free @ self.share, axis=1)
        # (n, classes, classes) of each image's scores, then of the free columns
        inner = p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :])
        inner = self.share @ inner @ self.share.T
        full = np.einsum(
            "n,ni,nab,nj->iajb", self._weight, self._inputs, inner, self._inputs, optimize=True
        )
        size = free.size
        penalty = np.repeat(self._penalty[:, 0], free.shape[1])
        return np.asarray(full.reshape(size, size) + np.diag(penalty))

    def solved(self) -> Array:
        """Return the weights at the optimum.

        Raises:
            RunError: the iteration does not converge.
        """
        free = np.zeros((self._inputs.shape[1], len(self.share)))
        limit = _FLAT * max(1.0, float(self._weight.sum()))
        for _ in range(_MAX_STEPS):
            slope = self.slope(free)
            if np.abs(slope).max() <= limit:
                # adding a number to the constants of all classes changes no probability
                free[-1] -= free[-1].mean() if len(self.share) > 1 else 0.0
                return free
            # take the shortest solution: the curvature is 0 where all constants move together
            found, *_ = np.linalg.lstsq(self.curvature(free), slope.ravel(), rcond=1e-12)
            way = np.asarray(found.reshape(free.shape), dtype=np.float64)
            free = self._stepped(free, way, slope)
        raise RunError("Logistic regression did not converge; use a larger l2.")

    def _stepped(self, free: Array, way: Array, slope: Array) -> Array:
        """Take a step that decreases the objective enough (Armijo), halving it until it does."""
        here, gain = self.value(free), 1e-4 * float(np.sum(way * slope))
        rounding = 1e-12 * (1 + abs(here))  # near the optimum, gains vanish in rounding
        length = 1.0
        while self.value(free - length * way) > here - length * gain + rounding:
            length /= 2
            if length < _LEAST_STEP:
                raise RunError("Logistic regression did not converge; use a larger l2.")
        return free - length * way
