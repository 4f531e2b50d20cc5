"""Intervals and reliability: how sure a mean is, and what more participants would give."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
LEVEL = 0.95
_BLOCK_DRAWS = 1 << 22  # indices drawn at once


def percentile_interval(samples: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of bootstrap samples, NaN ones left out; NaN when there are none.

    Infinite samples count: an end that falls among them is infinite.
    """
    known = samples[~np.isnan(samples)]
    if not len(known):
        return math.nan, math.nan
    tail = 100 * (1 - level) / 2
    finite = bool(np.isfinite(known).all())
    # nothing can be interpolated between a number and an infinite one
    low, high = np.percentile(
        known, [tail, 100 - tail], method="linear" if finite else "inverted_cdf"
    )
    return float(low), float(high)


def known_mean(values: ArrayLike) -> float:
    """The mean of the values that are not NaN; NaN when there are none."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else math.nan


def bootstrap_means(
    values: NDArray[np.float64], rng: np.random.Generator, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Means of resamples with replacement; NaN values are left out first, infinite ones are not.

    Args:
        values: (n) one value an item.
        rng: generator of the draws.
        resamples: how many.

    Returns:
        (resamples) float64; NaN when no value is known.

    Reference: Efron (1979).
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return np.full(resamples, math.nan)
    return np.concatenate(
        [known[drawn].mean(axis=1) for drawn in _resamples(rng, len(known), resamples)]
    )


def _resamples(rng: np.random.Generator, n: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Blocks of (some, n) indices drawn with replacement, in bounded memory.

    The blocks together are the same draws as one resample after the other.
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
    """Means over images of means over trials, with participants (and images) resampled.

    Each draw takes participants with replacement; a trial counts as often as its participant came
    up, times as often as its image did. The per-trial scores stay as they are.

    Args:
        scores: (trials) scores.
        image: (trials) codes of images.
        user: (trials) codes of participants.
        rng: generator of the draws.
        images: whether images are resampled too (crossed).
        resamples: how many.

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
    """Reliability of a measure made `factor` times as long.

    2r / (1 + r) for two halves; NaN where it is undefined (r of -1 for halves).

    Reference: Spearman (1910), Brown (1910).

    >>> spearman_brown(0.5)
    0.6666666666666666
    """
    below = 1 + (factor - 1) * reliability
    return factor * reliability / below if below > 0 else math.nan


def spearman_brown_fit(sizes: NDArray[Any], reliabilities: NDArray[np.float64]) -> float:
    """The reliability of one participant whose Spearman-Brown curve fits best.

    Args:
        sizes: (m) participants a half.
        reliabilities: (m) reliability of halves of that size, NaN where unknown.

    Returns:
        r1 of r(k) = k r1 / (1 + (k - 1) r1), by least squares; NaN when nothing is known.
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


def participants_needed(single: float, wished: float) -> float:
    """Participants a half that reach a wished reliability, rounded up; inf when none do.

    Args:
        single: reliability of one participant, from `spearman_brown_fit`.
        wished: reliability wished, between 0 and 1.
    """
    if not 0 < single < 1:
        return 1.0 if single >= 1 else math.inf
    return float(math.ceil(wished * (1 - single) / (single * (1 - wished)) - 1e-9))


def robust_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances from the median in units of 1.4826 MAD; NaN stays NaN.

    Args:
        values: (n) one value a participant.
    """
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), math.nan)
    centre = np.median(values[known])
    spread = 1.4826 * np.median(np.abs(values[known] - centre))
    away = np.where(known, values - centre, math.nan)
    if spread == 0:  # more than half are equal: whoever differs differs without bound
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
    """(m - z) / (c - z) of resampled images: the same images for model, ceiling and null.

    Args:
        model: (images) mean score of the model against the image's participants.
        ceiling: (images) mean score of the others against them.
        null: (images) mean score of other images' people against them.
        rng: generator of the draws.
        resamples: how many.

    Returns:
        (resamples) float64, not clipped; NaN where ceiling and null are equal or no image has all
        three.
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
    with np.errstate(invalid="ignore"):  # of infinite scores, in `IG`
        np.divide(m - z, c - z, out=found, where=c != z)
    return found
