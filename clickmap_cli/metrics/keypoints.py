"""How well key points are found: PCK, RMSE and pixel errors.

Key points are x (column) and y (row) in pixels with the centre of the top left pixel at (0, 0), as
DeepLabCut's labelling tools and matplotlib count them: an image of width W covers -0.5 to W - 0.5.
A key point that was not labelled has NaN as x and y, and counts nowhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ALPHA = 0.1
"""Share of the reference distance within which a key point is correct, unless one is set."""


@dataclass(frozen=True, eq=False)
class KeypointScores:
    """Scores of n images with k key points each, in the pixels that the points came in.

    A mean is over what is defined; NaN where nothing is. Without missing labels the mean over
    images is also the mean over key points for PCK and errors, but not for RMSE.

    Attributes:
        distances: (n, k) from the true to the predicted point; NaN where there is no label.
        reference: (n) distance between the two reference points; NaN where one has no label, or
            where they are one point.
        alpha: share of `reference` within which a key point is correct.
        image_pck: (n) share of an image's labelled key points that are correct.
        point_pck: (k) share of the images with a reference and this label where it is correct.
        pck: mean of `image_pck`.
        image_rmse: (n) root of the mean squared distance over an image's labelled key points.
        point_rmse: (k) the same over the images where this key point is labelled.
        rmse: mean of `image_rmse`.
        image_error: (n) mean distance over an image's labelled key points.
        point_error: (k) the same over the images where this key point is labelled.
        error: mean of `image_error`.
    """

    distances: Array
    reference: Array
    alpha: float
    image_pck: Array
    point_pck: Array
    pck: float
    image_rmse: Array
    point_rmse: Array
    rmse: float
    image_error: Array
    point_error: Array
    error: float

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(n, k) where there is a label."""
        return ~np.isnan(self.distances)

    @property
    def wrong(self) -> tuple[tuple[int, ...], ...]:
        """For each image the labelled key points that are not correct; none without a PCK."""
        with np.errstate(invalid="ignore"):
            far = self.distances > self.alpha * self.reference[:, None]
        return tuple(tuple(np.flatnonzero(row).tolist()) for row in far)

    @property
    def without_label(self) -> int:
        """How many images have no label at all, so that they have no score."""
        return int((~self.labelled.any(axis=1)).sum())

    @property
    def without_pck(self) -> int:
        """How many images have labels but no reference distance, so that they have no PCK."""
        return int((self.labelled.any(axis=1) & np.isnan(self.reference)).sum())


def score_keypoints(
    predicted: NDArray[Any],
    true: NDArray[Any],
    reference: tuple[int, int] | None,
    alpha: float = ALPHA,
) -> KeypointScores:
    """PCK, RMSE and pixel errors of predicted key points.

    PCK is the percentage of correct key points as a share in 0..1: a key point is correct when it
    lies within `alpha` times the distance between the image's two true reference points (Yang and
    Ramanan 2013, there with the size of the body). RMSE is the root of the mean squared Euclidean
    distance, not of the mean squared coordinate, which is smaller by the root of 2.

    Args:
        predicted: (n, k, 2) x and y, finite where there is a label.
        true: (n, k, 2) in the same pixels; NaN where there is no label.
        reference: the two key points whose distance is the measure, counted from 0; None for no
            PCK.
        alpha: share of that distance, above 0.

    Raises:
        ValueError: the shapes do not fit, a prediction is not finite, only one of x and y is
            labelled, or a setting is out of range.

    >>> true = np.array([[[0, 0], [30, 40], [7, 7]]])
    >>> score_keypoints(true + [[[3, 4], [0, 0], [0, 6]]], true, (0, 1)).wrong
    ((2,),)
    """
    found, truth = _checked(predicted, true)
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha is {alpha}; it must be above 0")
    distances = np.hypot(*np.moveaxis(found - truth, -1, 0))
    measure = reference_distances(truth, reference)
    with np.errstate(invalid="ignore"):
        correct = np.where(
            np.isnan(distances) | np.isnan(measure)[:, None],
            np.nan,
            distances <= alpha * measure[:, None],
        )
    image_pck, image_error = _means(correct, 1), _means(distances, 1)
    image_rmse = np.sqrt(_means(distances**2, 1))
    point_rmse = np.sqrt(_means(distances**2, 0))
    return KeypointScores(
        distances=distances,
        reference=measure,
        alpha=float(alpha),
        image_pck=image_pck,
        point_pck=_means(correct, 0),
        pck=float(_means(image_pck, 0)),
        image_rmse=image_rmse,
        point_rmse=point_rmse,
        rmse=float(_means(image_rmse, 0)),
        image_error=image_error,
        point_error=_means(distances, 0),
        error=float(_means(image_error, 0)),
    )


def reference_distances(true: NDArray[Any], reference: tuple[int, int] | None) -> Array:
    """(n) distances between the two reference points of each image.

    Args:
        true: (n, k, 2) labels.
        reference: the two key points, counted from 0, or None.

    Returns:
        NaN where a label is missing, where both points are one, and everywhere without `reference`.

    Raises:
        ValueError: a number is out of range, or both are the same.
    """
    n, k = true.shape[:2]
    if reference is None:
        return np.full(n, np.nan)
    first, second = reference
    if not (0 <= first < k and 0 <= second < k):
        raise ValueError(f"the reference points {reference} are not in 0..{k - 1}")
    if first == second:
        raise ValueError(f"the reference points are both {first}")
    distances = np.hypot(*np.moveaxis(true[:, first] - true[:, second], -1, 0))
    # of two points in one place nothing could be within a share
    return np.where(distances > 0, distances, np.nan)


def scaled(points: NDArray[Any], size: tuple[int, int], to: tuple[int, int]) -> Array:
    """Where points lie after their image is resized.

    A position keeps its share of the image: x' = (x + 0.5) W' / W - 0.5, as pixel centres are
    whole numbers. It is what bilinear resizing does to the image (`align_corners=False`).

    Args:
        points: (..., 2) x and y; NaN stays NaN.
        size: height and width of the image they are in.
        to: height and width of the resized image.
    """
    factor = np.array([to[1] / size[1], to[0] / size[0]])
    return np.asarray((np.asarray(points, dtype=np.float64) + 0.5) * factor - 0.5)


def _checked(predicted: NDArray[Any], true: NDArray[Any]) -> tuple[Array, Array]:
    if predicted.shape != true.shape or true.ndim != 3 or true.shape[2] != 2:
        raise ValueError(f"points of shapes {predicted.shape} and {true.shape}, not (n, k, 2)")
    found, truth = predicted.astype(np.float64), true.astype(np.float64)
    if np.any(np.isnan(truth[..., 0]) != np.isnan(truth[..., 1])):
        raise ValueError("a label has only one of x and y")
    if np.any(np.isinf(truth)):
        raise ValueError("a label is infinite")
    if not np.all(np.isfinite(found[~np.isnan(truth)])):
        raise ValueError("a prediction is not finite")
    return found, truth


def _means(values: NDArray[Any], axis: int) -> Array:
    """Means over an axis of what is not NaN; NaN where nothing is."""
    known = ~np.isnan(values)
    counts = known.sum(axis=axis)
    sums = np.where(known, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(counts, sums / np.maximum(counts, 1), np.nan))
