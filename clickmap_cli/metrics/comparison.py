"""Compare two models on the same images: the size of the difference, and its p-value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.uncertainty import bootstrap_means, percentile_interval

EXACT_UP_TO = 12
"""Largest number of pairs for which every pattern of signs is tried."""

DRAWS = 10_000
"""Number of random sign patterns for more pairs than that."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A paired comparison of two models.

    Attributes:
        n: number of images with a score of both models.
        mean: mean of first - second.
        low: lower end of its 95% percentile bootstrap interval over images.
        high: upper end.
        p: two-sided p-value of the sign-flip test.
    """

    n: int
    mean: float
    low: float
    high: float
    p: float


def compare_paired(first: Scores, second: Scores, rng: np.random.Generator) -> Difference:
    """Compare two models' scores image by image.

    Args:
        first: (images) scores, NaN where there is none.
        second: (images) scores of the same images.
        rng: generator of resamples and signs.

    Returns:
        The difference; all values are NaN if no image has both scores. If only one model scores
        minus infinity on an image (`IG` of a density of 0 at a fixation), the mean difference is
        infinite, and the interval and the p-value are NaN.
    """
    with np.errstate(invalid="ignore"):  # -inf minus -inf is NaN: such an image has no difference
        away = first - second
        away = away[~np.isnan(away)]
        mean = float(away.mean()) if len(away) else math.nan
    if not math.isfinite(mean):
        return Difference(len(away), mean, math.nan, math.nan, math.nan)
    low, high = percentile_interval(bootstrap_means(away, rng))
    return Difference(len(away), mean, low, high, sign_flip_p(away, rng))


def sign_flip_p(differences: Scores, rng: np.random.Generator) -> float:
    """Return the share of sign patterns with a mean at least as far from 0 as the observed mean.

    Under the null hypothesis either model could have had either score, so each difference could
    have either sign. With up to 12 pairs every pattern of signs is counted; with more pairs,
    10,000 random patterns and the observed one.

    Args:
        differences: (n) paired differences, finite.
        rng: generator of the signs.

    Returns:
        A p-value in (0, 1].

    Reference: Fisher (1935); Nichols and Holmes (2002).
    """
    n = len(differences)
    # sums of the same numbers in another order may differ in the last bits
    observed = abs(math.fsum(differences)) - 1e-12 * math.fsum(np.abs(differences))
    if n <= EXACT_UP_TO:
        patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        sums = (1 - 2 * patterns) @ differences
        return float(np.mean(np.abs(sums) >= observed))
    reached = 1
    for _ in range(0, DRAWS, 1000):
        signs = rng.integers(0, 2, (1000, n), dtype=np.int8) * 2 - 1
        reached += int(np.count_nonzero(np.abs(signs @ differences) >= observed))
    return reached / (DRAWS + 1)


def holm(p_values: Scores) -> Scores:
    """Correct p-values for multiple comparisons; NaN stays NaN and does not count.

    Args:
        p_values: (n).

    Returns:
        (n) corrected, at most 1, in the order given.

    Reference: Holm (1979).

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    corrected = np.full(len(p_values), math.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return corrected
