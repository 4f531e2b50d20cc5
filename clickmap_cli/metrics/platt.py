"""Platt's logistic calibration, which turns a classifier's scores into probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

_STEPS = 200
_FLAT = 1e-12
"""Largest gradient, in nats per item, that counts as converged."""

_RIDGE = 1e-14
_ROUNDING = 1e-15
_LEAST_SIZE = 1e-12


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
        return sigmoid(self.slope * np.asarray(scores, dtype=np.float64) + self.offset)


def sigmoid(values: Vector) -> Vector:
    """Return 1 / (1 + exp(-v)) without overflow."""
    small = np.exp(-np.abs(values))
    return np.asarray(np.where(values >= 0, 1, small) / (1 + small))


def fit_platt(scores: NDArray[Any], positive: NDArray[np.bool_]) -> Platt:
    """Fit the calibration with Newton's method in float64.

    The fit minimises the cross-entropy to Platt's targets: (N+ + 1) / (N+ + 2) for positives and
    1 / (N- + 2) for negatives, in place of 1 and 0. These keep the slope finite where the scores
    separate the two classes. Scores must come from a model that was not trained on these items.

    Args:
        scores: (n) finite, higher = more likely positive.
        positive: (n) True for positive items.

    Raises:
        ValueError: a score is not finite, the lengths differ, positives or negatives are missing,
            or the fit does not converge.

    Reference: Platt (1999); Lin, Lin and Weng (2007), A note on Platt's probabilistic outputs.
    """
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
    columns = np.stack(((values - centre) / spread, np.ones(len(values))))
    slope, offset = _newton(columns, targets)
    return Platt(slope / spread, offset - slope * centre / spread)


def _newton(columns: Vector, targets: Vector) -> tuple[float, float]:
    """Return the weights of (2, n) columns with the least cross-entropy, by damped Newton steps."""
    weights = np.zeros(2)
    now = _cross_entropy(weights @ columns, targets)
    for _ in range(_STEPS):
        probability = sigmoid(weights @ columns)
        gradient = columns @ (probability - targets) / len(targets)
        if np.abs(gradient).max() <= _FLAT:
            return float(weights[0]), float(weights[1])
        curvature = (columns * probability * (1 - probability)) @ columns.T / len(targets)
        step = np.linalg.solve(curvature + _RIDGE * np.eye(2), gradient)
        gain, size = 1e-4 * float(gradient @ step), 1.0
        then = _cross_entropy((weights - step) @ columns, targets)
        while then > now - size * gain + _ROUNDING and size > _LEAST_SIZE:
            size /= 2
            then = _cross_entropy((weights - size * step) @ columns, targets)
        weights, now = weights - size * step, then
    raise ValueError("no calibration fits these scores")


def _cross_entropy(logits: Vector, targets: Vector) -> float:
    """Return the mean of -t log p - (1 - t) log(1 - p)."""
    return float(np.mean(np.logaddexp(0, logits) - targets * logits))
