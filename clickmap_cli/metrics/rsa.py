"""Representational similarity of two sets of maps of the same images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def similarity_matrix(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Pearson correlation of each pair of images.

    Args:
        vectors: (n, pixels), each centred and of length 1 (zeros for a constant map).

    Returns:
        (n, n).
    """
    return np.asarray(np.clip(vectors @ vectors.T, -1, 1))


def rsa(
    first: NDArray[np.float64], second: NDArray[np.float64], keep: NDArray[np.bool_] | None = None
) -> float:
    """Return the Spearman correlation of the upper triangles of two similarity matrices.

    Args:
        first: (n, n).
        second: (n, n).
        keep: (n, n) True for pairs that are used; None uses all.

    Returns:
        -1 to 1; NaN with fewer than three pairs, or when one triangle is constant.

    Reference: Kriegeskorte, Mur and Bandettini (2008).
    """
    upper = np.triu(np.ones(first.shape, dtype=np.bool_), 1)
    if keep is not None:
        upper &= keep
    a, b = first[upper], second[upper]
    if len(a) < 3:
        return math.nan
    x, y = _ranks(a), _ranks(b)
    x, y = x - x.mean(), y - y.mean()
    length = math.sqrt(float(np.dot(x, x)) * float(np.dot(y, y)))
    return math.nan if length == 0 else float(np.clip(np.dot(x, y) / length, -1, 1))


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    # similarities are float64 and must not be rounded to float32 before ranking
    from scipy.stats import rankdata

    return np.asarray(rankdata(values), dtype=np.float64)
