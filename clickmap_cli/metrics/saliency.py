"""Scores of a model's prediction against fixations, as benchmarks report them.

For the same input they equal those of pysaliency (Kümmerer et al.), the reference of the
MIT/Tuebingen benchmark. A constant prediction gets the chance value; a constant or empty target
has no score (NaN).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.map_scores import MAP_SCORES
from clickmap_cli.metrics.views import MapView, Vector, blocks

MASK_LEVEL = 1e-4
"""Pixels where neither min-max scaled map exceeds this are left out of `CC_mask`."""

IG_UNIFORM_SHARE = 1e-6
"""Share of the uniform density that `IG` mixes into a map without a probabilistic meaning."""

LARGEST = 1e150
"""Largest absolute value of a prediction; sums of squares of larger values overflow."""

Places = tuple[NDArray[np.intp], Vector]
"""Indices into a flattened image, without repeats, and the count at each."""

Kind = Literal["map", "density", "log_density"]


def places_of(counts: NDArray[Any]) -> Places:
    """Return the pixels with a count, from a (H, W) map of counts."""
    flat = counts.ravel()
    places = np.flatnonzero(flat)
    return places, flat[places].astype(np.float64)


class Prediction(MapView):
    """A model's prediction; intermediate results that several scores need are computed once.

    Args:
        values: (H, W), finite (a log density may be -inf); float64 stays float64, every other type
            becomes float32.
        kind: `map` (any scale), `density` (sums to 1) or `log_density` (natural logarithm), which
            is exponentiated for every score except `IG`.

    Raises:
        ValueError: a value is NaN or infinite, or too large to be squared, or a density has a
            negative value.
    """

    def __init__(self, values: NDArray[Any], kind: Kind = "map") -> None:
        dtype = np.float64 if values.dtype == np.float64 else np.float32
        self.kind = kind
        self._log = values if kind == "log_density" else None
        with np.errstate(over="ignore"):  # overflow gives infinity, which is refused below
            super().__init__(np.exp(values) if kind == "log_density" else values, None, dtype)
        if max(-self.least, self.greatest) > LARGEST:
            raise ValueError(f"a prediction with values beyond {LARGEST:g}")
        if kind == "density" and self.least < 0:
            raise ValueError("a density with negative values")

    @property
    def zero(self) -> float:
        """Pixel value without mass in a density: 0, or the least pixel if that is negative."""
        return min(self.least, 0.0)

    def log2_density_at(self, places: NDArray[np.intp]) -> Vector:
        """Return log2 of the model's density, or of its map scaled to a density, at some pixels."""
        if self._log is not None:
            return np.asarray(self._log.ravel()[places].astype(np.float64) / math.log(2))
        if self.kind == "density":
            with np.errstate(divide="ignore"):
                return np.asarray(np.log2(self.pixels[places].astype(np.float64)))
        mixed = (1 - IG_UNIFORM_SHARE) * self.density_at(places) + IG_UNIFORM_SHARE / self.size
        return np.asarray(np.log2(mixed))


@dataclass(frozen=True)
class Target:
    """Fixations and ground-truth map that a prediction is scored against.

    Attributes:
        points: fixated pixels and the number of fixations on each, or None if unknown.
        map: the ground-truth map, or None.
        negatives: pixels of other images' fixations, for `sAUC`.
        baseline: (points) log2 of the centre bias's density at `points`, for `IG`, or None.
    """

    points: Places | None = None
    map: MapView | None = None
    negatives: Places | None = None
    baseline: Vector | None = None


@dataclass(frozen=True)
class SaliencyScore:
    """A score and its properties.

    Attributes:
        name: name in the columns of a table.
        compare: (prediction, part of the target, ...) -> value; the parts are those that the score
            needs: the map, or the points and what `also_needs` names.
        needs: part that the target must have, `points` or `map`.
        higher_is_better: True if a larger value means a better prediction.
        range: smallest and largest possible value.
        reference: source of the definition.
        also_needs: part that the target must have besides its points, or None.
    """

    name: str
    compare: Callable[..., float]
    needs: Literal["points", "map"]
    higher_is_better: bool
    range: tuple[float, float]
    reference: str
    also_needs: Literal["negatives", "baseline"] | None = None

    def __call__(self, prediction: Prediction, target: Target) -> float:
        """Return the score, or NaN if the target is constant, empty, or lacks what the score needs.

        Raises:
            ValueError: the shape of the target's map differs from that of the prediction.
        """
        if self.needs == "map":
            if target.map is None or target.map.constant:
                return math.nan
            if target.map.shape != prediction.shape:
                raise ValueError(
                    f"a prediction of shape {prediction.shape} and a map of {target.map.shape}"
                )
            return self.compare(prediction, target.map)
        if target.points is None or not len(target.points[0]):
            return math.nan
        if self.also_needs is None:
            return self.compare(prediction, target.points)
        part = getattr(target, self.also_needs)
        if part is None or not np.size(part[0]):  # the pixels of `negatives` may be none
            return math.nan
        return self.compare(prediction, target.points, part)


def score_prediction(names: list[str], prediction: Prediction, target: Target) -> dict[str, float]:
    """Compute several scores of one prediction against one target, sharing sorts and scaling.

    Args:
        names: names in `SALIENCY_SCORES`.
        prediction: (H, W).
        target: target for the same image.

    Returns:
        name -> value; NaN where the score is undefined for the target.
    """
    return {name: SALIENCY_SCORES[name](prediction, target) for name in names}


def _auc(prediction: Prediction, points: Places) -> float:
    """Area under the ROC of fixations against all pixels, ties half."""
    places, counts = points
    mean_rank = np.dot(prediction.ranks_at(places), counts) / counts.sum()
    return float((mean_rank - 0.5) / prediction.size)


def _auc_judd(prediction: Prediction, points: Places) -> float:
    """Area under the ROC of fixations against unfixated pixels, thresholds at fixated values.

    Between thresholds the curve is straight, so negatives that lie between two fixated values
    count half at both, and no jitter is needed.
    """
    places, counts = points
    negatives = prediction.size - len(places)
    if not negatives:
        return math.nan
    levels, which = np.unique(prediction.pixels[places], return_inverse=True)
    hits = np.cumsum(np.bincount(which, counts)[::-1])  # at or above each level, from the top
    fixated = np.cumsum(np.bincount(which)[::-1])
    reached = prediction.size - np.searchsorted(prediction.ordered, levels[::-1], side="left")
    false_rate = np.concatenate(([0.0], (reached - fixated) / negatives, [1.0]))
    hit_rate = np.concatenate(([0.0], hits / counts.sum(), [1.0]))
    return float(np.dot(np.diff(false_rate), (hit_rate[1:] + hit_rate[:-1]) / 2))


def _sauc(prediction: Prediction, points: Places, negatives: Places) -> float:
    """Area under the ROC of fixations against other images' fixations, ties half."""
    places, counts = points
    where, times = negatives
    values = prediction.pixels[where]
    order = np.argsort(values)
    ordered = values[order]
    below = np.concatenate(([0.0], np.cumsum(times[order])))
    positive = prediction.pixels[places]
    less = below[np.searchsorted(ordered, positive, side="left")]
    through = below[np.searchsorted(ordered, positive, side="right")]
    return float(np.dot((less + through) / 2, counts) / (below[-1] * counts.sum()))


def _nss(prediction: Prediction, points: Places) -> float:
    """Mean over fixations of the prediction in standard deviations from its mean."""
    places, counts = points
    if prediction.deviation == 0:
        return 0.0
    mean = np.dot(prediction.from_mean(places), counts) / counts.sum()
    return float(mean / prediction.deviation)


def _ig(prediction: Prediction, points: Places, baseline: Vector) -> float:
    """Mean over fixations of log2 p - log2 b: information gain in bits over the centre bias."""
    places, counts = points
    gain = prediction.log2_density_at(places) - baseline
    return float(np.dot(gain, counts) / counts.sum())


def _cc_mask(prediction: Prediction, truth: MapView) -> float:
    """Pearson's correlation where either min-max scaled map exceeds 1e-4."""
    if prediction.constant:
        return 0.0
    pivot: tuple[float, float] | None = None
    sums = np.zeros(6)
    for first, second in _scaled_parts(prediction, truth):
        seen = (first > MASK_LEVEL) | (second > MASK_LEVEL)
        if not seen.any():
            continue
        p, t = first[seen], second[seen]
        # subtracting one pixel's value from all makes the spread of equal pixels exactly 0
        pivot = pivot or (float(p[0]), float(t[0]))
        p -= pivot[0]
        t -= pivot[1]
        sums += len(p), p.sum(), t.sum(), np.dot(p, p), np.dot(t, t), np.dot(p, t)
    n, p_sum, t_sum, p_squares, t_squares, products = sums.tolist()
    p_spread, t_spread = p_squares - p_sum**2 / n, t_squares - t_sum**2 / n
    if t_spread <= 0:
        return math.nan
    if p_spread <= 0:
        return 0.0
    value = (products - p_sum * t_sum / n) / math.sqrt(p_spread * t_spread)
    return min(max(value, -1.0), 1.0)


def _mae(prediction: Prediction, truth: MapView) -> float:
    """Mean absolute difference of the two min-max scaled maps."""
    pairs = _scaled_parts(prediction, truth)
    return sum(float(np.abs(p - t).sum()) for p, t in pairs) / prediction.size


def _mse(prediction: Prediction, truth: MapView) -> float:
    """Mean squared difference of the two min-max scaled maps."""
    pairs = _scaled_parts(prediction, truth)
    return sum(float(np.square(p - t).sum()) for p, t in pairs) / prediction.size


def _scaled_parts(prediction: Prediction, truth: MapView) -> Iterator[tuple[Vector, Vector]]:
    """Yield both maps min-max scaled, block by block."""
    for part in blocks(prediction.size):
        yield prediction.scaled_at(part), truth.scaled_at(part)


_MIT = "the MIT/Tuebingen benchmark (Bylinskii et al. 2019), as in pysaliency"
_STUDY = "the field's EigenCAM study"
_PEARSON, _KL, _SIM, _EMD, _SPEARMAN = (
    MAP_SCORES[name].compare for name in ("pearson", "kl", "sim", "emd", "spearman")
)

SALIENCY_SCORES: dict[str, SaliencyScore] = {
    score.name: score
    for score in (
        SaliencyScore("AUC", _auc, "points", True, (0, 1), _MIT),
        SaliencyScore("AUC_Judd", _auc_judd, "points", True, (0, 1), "Judd et al. (2009)"),
        SaliencyScore("sAUC", _sauc, "points", True, (0, 1), "Zhang et al. (2008)",
                      also_needs="negatives"),
        SaliencyScore("NSS", _nss, "points", True, (-math.inf, math.inf), "Peters et al. (2005)"),
        SaliencyScore("IG", _ig, "points", True, (-math.inf, math.inf),
                      "Kümmerer et al. (2015), in bits a fixation", also_needs="baseline"),
        SaliencyScore("CC", _PEARSON, "map", True, (-1, 1), _MIT),
        SaliencyScore("CC_mask", _cc_mask, "map", True, (-1, 1), _STUDY),
        SaliencyScore("KL", _KL, "map", False, (0, math.inf), "MIT_KLDiv, " + _MIT),
        SaliencyScore("SIM", _SIM, "map", True, (0, 1), _MIT),
        SaliencyScore("EMD", _EMD, "map", False, (0, 1), "Rubner et al. (2000), solved exactly"),
        SaliencyScore("MAE", _mae, "map", False, (0, 1), _STUDY + ", maps min-max scaled"),
        SaliencyScore("MSE", _mse, "map", False, (0, 1), _STUDY + ", maps min-max scaled"),
        SaliencyScore("Spearman", _SPEARMAN, "map", True, (-1, 1), "Spearman (1904)"),
    )
}  # fmt: skip
"""All scores of a prediction, by name, in the order of the columns."""
