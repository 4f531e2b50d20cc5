"""Confidence intervals, reliability and participants, and p-values of paired comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
LEVEL = 0.95
_BLOCK_DRAWS = 1 << 22  # indices per block of draws


def percentile_interval(samples: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of bootstrap samples without NaN; NaN if none are left.

    Infinite samples count: an end of the interval that falls among them is infinite.
    """
    known = samples[~np.isnan(samples)]
    if not len(known):
        return math.nan, math.nan
    tail = 100 * (1 - level) / 2
    finite = bool(np.isfinite(known).all())
    # interpolation between a finite and an infinite number is undefined
    low, high = np.percentile(
        known, [tail, 100 - tail], method="linear" if finite else "inverted_cdf"
    )
    return float(low), float(high)


def known_mean(values: ArrayLike) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else math.nan


def bootstrap_means(
    values: NDArray[np.float64], rng: np.random.Generator, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Return means of resamples with replacement; NaN is left out first, infinite values stay.

    Args:
        values: (n) one value per item.
        rng: generator of the draws.
        resamples: number of resamples.

    Returns:
        (resamples) float64; NaN when all values are NaN.

    Reference: Efron (1979).
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return np.full(resamples, math.nan)
    return np.concatenate(
        [known[drawn].mean(axis=1) for drawn in _resamples(rng, len(known), resamples)]
    )


def _resamples(rng: np.random.Generator, n: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Yield blocks of (some, n) indices drawn with replacement, in bounded memory.

    Together the blocks equal the draws of one resample after another.
    """
    step = max(1, _BLOCK_DRAWS // n)
    for first in range(0, resamples, step):
        yield rng.integers(0, n, (min(step, resamples - first), n))


def bootstrap_grouped_means(
    scores: NDArray[np.float64],
    image: NDArray[Any],
    user: NDArray[Any],
    rng: np.random.Generator,
    images: bool,
    resamples: int = RESAMPLES,
) -> NDArray[np.float64]:
    """Resample participants (and images), and return means over images of means over trials.

    Each draw takes participants with replacement. A trial then counts as often as its participant
    was drawn, multiplied by how often its image was drawn. The scores per trial are not recomputed.

    Args:
        scores: (trials) scores.
        image: (trials) codes of images.
        user: (trials) codes of participants.
        rng: generator of the draws.
        images: True to resample images too (crossed).
        resamples: number of resamples.

    Returns:
        (resamples) float64.

    Reference: Owen (2007), the pigeonhole bootstrap.
    """
    known = np.isfinite(scores)
    value = scores[known]
    _, item = np.unique(image[known], return_inverse=True)
    _, person = np.unique(user[known], return_inverse=True)
    if not len(value):
        return np.full(resamples, math.nan)
    n_items, n_people = int(item.max()) + 1, int(person.max()) + 1
    means = np.empty(resamples)
    for at in range(resamples):
        came = np.bincount(rng.integers(0, n_people, n_people), minlength=n_people)[person]
        total = np.bincount(item, came * value, minlength=n_items)
        count = np.bincount(item, came, minlength=n_items)
        weight = (
            np.bincount(rng.integers(0, n_items, n_items), minlength=n_items)
            if images
            else np.ones(n_items)
        ) * (count > 0)
        mean = np.divide(total, count, out=np.zeros(n_items), where=count > 0)
        means[at] = np.dot(mean, weight) / weight.sum() if weight.sum() else math.nan
    return means


def spearman_brown(reliability: float, factor: float = 2) -> float:
    """Return the reliability of a measure that is made `factor` times as long.

    2r / (1 + r) for two halves; NaN where it is undefined (r of -1 for halves).

    Reference: Spearman (1910), Brown (1910).

    >>> spearman_brown(0.5)
    0.6666666666666666
    """
    below = 1 + (factor - 1) * reliability
    return factor * reliability / below if below > 0 else math.nan


def spearman_brown_fit(sizes: NDArray[Any], reliabilities: NDArray[np.float64]) -> float:
    """Fit the Spearman-Brown curve, and return the reliability of one participant.

    Args:
        sizes: (m) participants per half.
        reliabilities: (m) reliability of halves of that size, NaN where unknown.

    Returns:
        r1 of r(k) = k r1 / (1 + (k - 1) r1), by least squares; NaN if all reliabilities are NaN.
    """
    from scipy.optimize import minimize_scalar

    known = np.isfinite(reliabilities)
    if not known.any():
        return math.nan
    k, r = np.asarray(sizes, dtype=np.float64)[known], reliabilities[known]

    def error(r1: float) -> float:
        return float(np.sum((k * r1 / (1 + (k - 1) * r1) - r) ** 2))

    found = minimize_scalar(error, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-10})
    return float(found.x)


def participants_needed(single: float, target: float) -> float:
    """Return the participants per half that reach a target reliability; inf if none do.

    The number is rounded up.

    Args:
        single: reliability of one participant, from `spearman_brown_fit`.
        target: target reliability, between 0 and 1.
    """
    if not 0 < single < 1:
        return 1.0 if single >= 1 else math.inf
    return float(math.ceil(target * (1 - single) / (single * (1 - target)) - 1e-9))


def robust_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return distances from the median in units of 1.4826 MAD; NaN stays NaN.

    Args:
        values: (n) one value per participant.
    """
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), math.nan)
    centre = np.median(values[known])
    spread = 1.4826 * np.median(np.abs(values[known] - centre))
    away = np.where(known, values - centre, math.nan)
    if spread == 0:  # more than half are equal: any other value is infinitely far away
        away[away != 0] *= np.inf
        return away
    return np.asarray(away / spread)


def bootstrap_normalised(
    model: NDArray[np.float64],
    ceiling: NDArray[np.float64],
    null: NDArray[np.float64],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> NDArray[np.float64]:
    """Return (m - z) / (c - z) of resampled images, the same for model, ceiling and null.

    Args:
        model: (images) mean score of the model against the image's participants.
        ceiling: (images) mean score of the other participants against them.
        null: (images) mean score of other images' participants against them.
        rng: generator of the draws.
        resamples: number of resamples.

    Returns:
        (resamples) float64, not clipped; NaN where ceiling and null are equal, or if no image has
            all three scores.
    """
    together = np.stack((model, ceiling, null))
    known = together[:, ~np.isnan(together).any(axis=0)]
    n = known.shape[1]
    if not n:
        return np.full(resamples, math.nan)
    m, c, z = np.concatenate(
        [known[:, drawn].mean(axis=2) for drawn in _resamples(rng, n, resamples)], axis=1
    )
    found = np.full(resamples, math.nan)
    with np.errstate(invalid="ignore"):  # infinite scores of `IG` give NaN
        np.divide(m - z, c - z, out=found, where=c != z)
    return found


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
