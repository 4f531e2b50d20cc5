"""Scores of one map against another, used for the ceilings of maps.

Every score takes a prediction and a target. A constant prediction gets the chance value that the
score's definition gives; a constant or empty target has no score (NaN).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.views import IOU_LEVELS, IOU_TARGET_LEVELS, MapView, Vector, blocks, unit
from clickmap_cli.runtime.errors import MissingExtraError

KL_EPS = 2.2204e-16  # the constant of the MIT benchmark's KLDiv

MAX_SIDE = 32
"""Maps are area-averaged to at most this many rows and columns: the solver takes cubic time."""

Compare = Callable[[MapView, MapView], float]
Pool = Callable[[Iterable[MapView]], NDArray[np.float64]]


@dataclass(frozen=True)
class MapScore:
    """A score and its properties.

    Attributes:
        name: name in configs, folders and JSON.
        compare: (prediction, target) -> value; the target is neither constant nor empty.
        higher_is_better: True if a larger value means a better prediction.
        range: smallest and largest possible value.
        reference: source of the definition.
        is_correlation: True if the Spearman-Brown formula applies.
        pool: function that pools all participants' maps for the upper bound; None if there is none.
    """

    name: str
    compare: Compare
    higher_is_better: bool
    range: tuple[float, float]
    reference: str
    is_correlation: bool = False
    pool: Pool | None = None

    def __call__(self, prediction: MapView, target: MapView) -> float:
        """Return the score, or NaN if the target is constant or empty.

        Raises:
            ValueError: the maps have unequal shapes.
        """
        if prediction.shape != target.shape:
            raise ValueError(f"maps of unequal shapes {prediction.shape} and {target.shape}")
        if target.constant:
            return math.nan
        return self.compare(prediction, target)


def score_maps(
    name: str, predictions: NDArray[Any], targets: NDArray[Any], clicks: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Score a stack of predictions against a stack of targets, pair by pair.

    Args:
        name: a score of `MAP_SCORES`, such as `spearman`.
        predictions: (n, H, W) maps.
        targets: (n, H, W) maps.
        clicks: (n, H, W) clicks per pixel of the targets, for `auc`.

    Returns:
        (n) float64; NaN where a target is constant or empty.

    Raises:
        KeyError: the score is unknown.
        ValueError: the shapes differ, a map holds NaN, or the score needs clicks and has none.

    >>> maps = np.arange(8.0).reshape(1, 2, 4)
    >>> score_maps("spearman", maps**2, maps)
    array([1.])
    """
    if predictions.shape != targets.shape:
        raise ValueError(f"stacks of unequal shapes {predictions.shape} and {targets.shape}")
    score = MAP_SCORES[name]
    points = [None] * len(targets) if clicks is None else list(clicks)
    pairs = zip(predictions, targets, points, strict=True)
    return np.array([score(MapView(p), MapView(t, c)) for p, t, c in pairs])


def _spearman(prediction: MapView, target: MapView) -> float:
    """Pearson's correlation of average ranks; a constant prediction scores 0."""
    if prediction.rank_spread == 0:
        return 0.0
    # the target's zeros share one rank, so only its other pixels are handled one by one
    places, zero_rank = target.support
    total = prediction.size * (prediction.size + 1) / 2
    together = np.dot(prediction.ranks_at(places), target.ranks_at(places) - zero_rank)
    covariance = together + (zero_rank - (prediction.size + 1) / 2) * total
    return _within_one(covariance / (prediction.rank_spread * target.rank_spread))


def _pearson(prediction: MapView, target: MapView) -> float:
    """Pearson's correlation of pixels; a constant prediction scores 0."""
    length = prediction.size * prediction.deviation * target.deviation
    if length == 0:
        return 0.0 if target.deviation else math.nan
    total = 0.0
    for part in blocks(prediction.size):
        total += float(np.dot(prediction.from_mean(part), target.from_mean(part)))
    return _within_one(total / length)


def _cosine(prediction: MapView, target: MapView) -> float:
    """Cosine similarity of pixels; a prediction of zeros scores 0."""
    return _within_one(np.dot(prediction.direction, target.direction))


def _auc(prediction: MapView, target: MapView) -> float:
    """Area under the ROC: prediction at the target's clicks against all pixels, ties half.

    A clicked pixel of average rank r has (r - 1/2) of N pixels below it, ties counted half.
    """
    places, counts = target.clicked
    if not len(places):
        return math.nan
    mean_rank = np.dot(prediction.ranks_at(places), counts) / counts.sum()
    return float((mean_rank - 0.5) / prediction.size)


def _iou_auc(prediction: MapView, target: MapView) -> float:
    """Volume under IoU(s, t): both maps min-max scaled, {prediction >= s} against {target >= t}.

    One joint histogram of the levels that pixels reach gives every intersection.
    """
    n_s, n_t = len(IOU_LEVELS), len(IOU_TARGET_LEVELS)
    joint = prediction.levels_reached * (n_t + 1) + target.target_levels_reached
    counts = np.bincount(joint, minlength=(n_s + 1) * (n_t + 1)).reshape(n_s + 1, n_t + 1)
    # cumulative sums from the top count the pixels that reach level i of one and j of the other
    both = counts[::-1, ::-1].cumsum(axis=0).cumsum(axis=1)[::-1, ::-1]
    intersection = both[1:, 1:]
    union = both[1:, :1] + both[:1, 1:] - intersection
    iou = intersection / union  # the target's maximum reaches every t, so no union is empty
    widths = np.diff(IOU_LEVELS)[:, None]
    return float((widths * (iou[1:] + iou[:-1]) / 2).sum(axis=0).mean())


def _crossentropy(prediction: MapView, target: MapView) -> float:
    """-sum t log max(p, 1e-10) in nats, both maps scaled to sum 1."""
    return float(-np.dot(target.density, prediction.log_density))


def _kl(prediction: MapView, target: MapView) -> float:
    """Sum of t log(eps + t / (p + eps)) in nats, both maps scaled to sum 1 (MIT KLDiv)."""
    total = 0.0
    for part in blocks(prediction.size):
        t = target.density_at(part)
        ratio = prediction.density_at(part)
        ratio += KL_EPS
        np.divide(t, ratio, out=ratio)
        ratio += KL_EPS
        total += float(np.dot(t, np.log(ratio, out=ratio)))
    return total


def _sim(prediction: MapView, target: MapView) -> float:
    """Sum of min(p, t), both maps scaled to sum 1: histogram intersection."""
    total = 0.0
    for part in blocks(prediction.size):
        p = prediction.density_at(part)
        total += float(np.minimum(p, target.density_at(part), out=p).sum())
    return total


def _emd(prediction: MapView, target: MapView) -> float:
    """Earth mover's distance in image diagonals, both maps scaled to sum 1."""
    return earth_movers_distance(
        prediction.density.reshape(prediction.shape), target.density.reshape(target.shape)
    )


def require_solver() -> None:
    """Raise MissingExtraError unless the exact solver of `emd` is installed.

    The solver is POT, which the extra `emd` installs.
    """
    if importlib.util.find_spec("ot") is None:
        raise MissingExtraError("emd", "the metric 'emd'")


def earth_movers_distance(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the least work that turns one density into the other (Rubner et al. 2000).

    Both maps are area-averaged to at most 32 x 32 and scaled to sum 1. Distances between pixels
    are Euclidean, in units of the image diagonal.

    Args:
        first: (H, W), at least 0.
        second: (H, W), at least 0.

    Returns:
        0 (equal) to 1.

    Raises:
        MissingExtraError: POT is not installed (extra `emd`).
        ValueError: the shapes differ, or a map has no mass or a negative value.
    """
    require_solver()
    import ot

    if first.shape != second.shape:
        raise ValueError(f"maps of unequal shapes {first.shape} and {second.shape}")
    p, q = _small(first), _small(second)
    rows, columns = p.shape
    y, x = np.mgrid[0:rows, 0:columns]
    # centres of the blocks, in units of the image diagonal
    height, width = first.shape
    place = np.stack(((y.ravel() + 0.5) * height / rows, (x.ravel() + 0.5) * width / columns), 1)
    place = place / np.hypot(height, width)
    distance = np.sqrt(((place[:, None] - place) ** 2).sum(axis=-1))
    a, b = p.ravel(), q.ravel()
    used_a, used_b = np.flatnonzero(a), np.flatnonzero(b)
    work = ot.emd2(a[used_a], b[used_b], distance[np.ix_(used_a, used_b)].copy())
    return float(work)


def _small(density: NDArray[Any]) -> NDArray[np.float64]:
    """Area-average a map and scale it to sum 1."""
    values = density.astype(np.float64)
    if values.min() < 0 or values.sum() <= 0:
        raise ValueError("a map without mass, or with negative mass")
    rows, columns = (_area(side) for side in values.shape)
    small = rows @ values @ columns.T
    return np.asarray(small / small.sum())


def _area(size: int) -> NDArray[np.float64]:
    """Return (out, size) the share of each pixel in each block; all blocks are equally wide."""
    out = min(size, MAX_SIDE)
    edges = np.linspace(0, size, out + 1)
    at = np.arange(size)
    overlap = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    return np.asarray(np.maximum(overlap, 0))


def _rank_pearson(prediction: MapView, target: MapView) -> float:
    """Pearson's correlation, where the target is above 0, of ranks taken over all pixels."""
    p, t = prediction.ranks_at(target.positive), target.ranks_at(target.positive)
    if len(t) < 2 or t.min() == t.max():
        return math.nan
    return _within_one(np.dot(unit(p - p.mean()), unit(t - t.mean())))


def _rank_cosine(prediction: MapView, target: MapView) -> float:
    """Cosine similarity, where the target is above 0, of ranks taken over all pixels."""
    if not len(target.positive):
        return math.nan
    p, t = prediction.ranks_at(target.positive), target.ranks_at(target.positive)
    return _within_one(np.dot(unit(p), unit(t)))


def _rankorder(prediction: MapView, target: MapView) -> float:
    """Mean, where the target is above 0, of the prediction's ranks scaled to 0..1."""
    if not len(target.positive):
        return math.nan
    return float((prediction.ranks_at(target.positive).mean() - 1) / (prediction.size - 1))


def _within_one(value: Any) -> float:
    """Clip a correlation to -1..1, because rounding can exceed it by the last bit."""
    return float(min(max(value, -1.0), 1.0))


def _mean_ranks(views: Iterable[MapView]) -> NDArray[np.float64]:
    """Return the mean of rank maps; the zeros of each map are added as one constant."""
    total = np.zeros(0)
    everywhere, n = 0.0, 0
    for view in views:
        total = total if n else np.zeros(view.size)
        places, zero_rank = view.support
        everywhere += zero_rank
        total[slice(None) if places is None else places] += view.ranks_at(places) - zero_rank
        n += 1
    return (total + everywhere) / n


def _mean_of(part: Callable[[MapView], Vector]) -> Pool:
    def pool(views: Iterable[MapView]) -> NDArray[np.float64]:
        total = np.zeros(0)
        n = 0
        for view in views:
            total = part(view) + (total if n else 0)
            n += 1
        return total / n

    return pool


_SCRIPTS = "the field's hold-one-out scripts"
_SPEARMAN = MapScore(
    "spearman", _spearman, True, (-1, 1), "Spearman (1904)",
    is_correlation=True, pool=_mean_ranks,
)  # fmt: skip

MAP_SCORES: dict[str, MapScore] = {
    score.name: score
    for score in (
        _SPEARMAN,
        MapScore("pearson", _pearson, True, (-1, 1), "Pearson (1895); CC in the MIT benchmark",
                 is_correlation=True, pool=_mean_of(lambda view: view.centred)),
        MapScore("auc", _auc, True, (0, 1), "Green and Swets (1966); all pixels are negatives"),
        MapScore("iou_auc", _iou_auc, True, (0, 1), _SCRIPTS),
        MapScore("crossentropy", _crossentropy, False, (0, math.inf), "Shannon (1948)",
                 pool=_mean_of(lambda view: view.density)),
        MapScore("kl", _kl, False, (0, math.inf), "Kullback and Leibler (1951); MIT KLDiv",
                 pool=_mean_of(lambda view: view.density)),
        MapScore("sim", _sim, True, (0, 1), "Swain and Ballard (1991); SIM of the MIT benchmark"),
        MapScore("cosine", _cosine, True, (-1, 1), "Salton and McGill (1983)",
                 pool=_mean_of(lambda view: view.direction)),
        MapScore("emd", _emd, False, (0, 1), "Rubner et al. (2000), solved exactly"),
        MapScore("rank_pearson", _rank_pearson, True, (-1, 1), _SCRIPTS),
        MapScore("rank_cosine", _rank_cosine, True, (0, 1), _SCRIPTS),
        MapScore("rankorder", _rankorder, True, (0, 1), _SCRIPTS),
    )
}  # fmt: skip
"""Every score of one map against another, by name; `rsa` belongs to a set of images."""


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
    from scipy.stats import rankdata

    # similarities are float64 and must not be rounded to float32 before ranking
    x, y = rankdata(a), rankdata(b)
    x, y = x - x.mean(), y - y.mean()
    length = math.sqrt(float(np.dot(x, x)) * float(np.dot(y, y)))
    return math.nan if length == 0 else float(np.clip(np.dot(x, y) / length, -1, 1))
