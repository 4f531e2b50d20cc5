"""Accuracy of predicted key points: PCK, RMSE and pixel errors.

Key points are x (column) and y (row) in pixels with the centre of the top left pixel at (0, 0), as
DeepLabCut's labelling tools and matplotlib count them: an image of width W covers -0.5 to W - 0.5.
A key point that was not labelled has NaN as x and y, and is left out of all scores.
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
    """Scores of n images with k key points each, in the pixels of the given points.

    A mean is over the values that are not NaN; it is NaN if there are none. Without missing labels
    the mean over images equals the mean over key points for PCK and errors, but not for RMSE.

    Attributes:
        distances: (n, k) from the true to the predicted point; NaN where the label is missing.
        reference: (n) distance between the two reference points; NaN where one is not labelled, or
            where they are at the same place.
        alpha: share of `reference` within which a key point is correct.
        image_pck: (n) share of an image's labelled key points that are correct.
        point_pck: (k) share of images in which this key point is correct, among the images with a
            reference distance and this label.
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
        """(n, k) True where a key point is labelled."""
        return ~np.isnan(self.distances)

    @property
    def wrong(self) -> tuple[tuple[int, ...], ...]:
        """Incorrect labelled key points of each image; none for an image without PCK."""
        with np.errstate(invalid="ignore"):
            far = self.distances > self.alpha * self.reference[:, None]
        return tuple(tuple(np.flatnonzero(row).tolist()) for row in far)

    @property
    def without_label(self) -> int:
        """Number of images without any label, which have no score."""
        return int((~self.labelled.any(axis=1)).sum())

    @property
    def without_pck(self) -> int:
        """Number of images with labels but no reference distance, which have no PCK."""
        return int((self.labelled.any(axis=1) & np.isnan(self.reference)).sum())


def score_keypoints(
    predicted: NDArray[Any],
    true: NDArray[Any],
    reference: tuple[int, int] | None,
    alpha: float = ALPHA,
) -> KeypointScores:
    """Compute PCK, RMSE and pixel errors of predicted key points.

    PCK, the percentage of correct key points, is given as a share in 0..1: a key point is correct
    if it lies within `alpha` times the distance between the image's two true reference points
    (Yang and Ramanan 2013, who use the size of the body). RMSE is the root of the mean squared
    Euclidean distance. The root of the mean squared coordinate difference is smaller, by a factor
    of the square root of 2.

    Args:
        predicted: (n, k, 2) x and y, finite where a key point is labelled.
        true: (n, k, 2) in the same pixels; NaN where a key point is not labelled.
        reference: the two key points whose distance is the reference, counted from 0; None leaves
            PCK undefined (NaN).
        alpha: share of that distance, above 0.

    Raises:
        ValueError: the shapes differ, a prediction is not finite, only one of x and y is
            labelled, or a setting is out of range.

    >>> true = np.array([[[0, 0], [30, 40], [7, 7]]])
    >>> score_keypoints(true + [[[3, 4], [0, 0], [0, 6]]], true, (0, 1)).wrong
    ((2,),)
    """
    found, truth = _require_points(predicted, true)
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
    """Return (n) distances between the two reference points of each image.

    Args:
        true: (n, k, 2) labels.
        reference: the two key points, counted from 0, or None.

    Returns:
        NaN where a label is missing, where both points are at the same place, and everywhere if
            `reference` is None.

    Raises:
        ValueError: a reference index is out of range, or both are the same.
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
    # with a reference distance of 0 only an exact prediction would be correct
    return np.where(distances > 0, distances, np.nan)


def scale_points(points: NDArray[Any], size: tuple[int, int], to: tuple[int, int]) -> Array:
    """Return the positions of points after their image is resized.

    A position keeps its share of the image: x' = (x + 0.5) W' / W - 0.5, because pixel centres are
    whole numbers. Bilinear resizing with `align_corners=False` moves pixels in the same way.

    Args:
        points: (..., 2) x and y; NaN stays NaN.
        size: height and width of the original image.
        to: height and width of the resized image.
    """
    factor = np.array([to[1] / size[1], to[0] / size[0]])
    return np.asarray((np.asarray(points, dtype=np.float64) + 0.5) * factor - 0.5)


def _require_points(predicted: NDArray[Any], true: NDArray[Any]) -> tuple[Array, Array]:
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
    """Return means over an axis, leaving out NaN; NaN where all values are NaN."""
    known = ~np.isnan(values)
    counts = known.sum(axis=axis)
    sums = np.where(known, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(counts, sums / np.maximum(counts, 1), np.nan))
