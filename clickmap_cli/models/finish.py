"""Bring a model's output to the form that is scored, in the same way for models and people."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import AS_IT_IS, Geometry
from clickmap_cli.datasets.maps import log_density_words, nothing_left_words
from clickmap_cli.models.base import Output

Finished = NDArray[np.float32]

_LARGEST = float(np.finfo(np.float32).max)


def finished(
    values: NDArray[Any], output: Output, geometry: Geometry, postprocess: bool
) -> Finished:
    """Bring a prediction onto the pixels that it is scored on.

    With `postprocess`, a map is clipped at 0, passed through the geometry and scaled to sum 1;
    without, it is only passed through the geometry. A density is scaled to sum 1 again if the
    geometry changes it, and so is a log density, in the logarithm.

    Args:
        values: (h, w) of the geometry's native size.
        output: kind of the prediction.
        geometry: the geometry to apply; see `Stimulus.placement`.
        postprocess: True if maps are clipped and scaled.

    Returns:
        (h, w) float32 of the geometry's final size.

    Raises:
        ValueError: the prediction holds NaN or infinite values (a log density may hold -inf in some
            pixels), looks like a log density without being declared one, is declared a density and
            holds negative values, is a map with negative and no positive values (with
            `postprocess`), is a log density of -inf wherever it is not cropped, or exceeds the
            range of float32 (without `postprocess`).
    """
    logarithm = log_density_words(values) if output != "log_density" else None
    if logarithm:
        raise ValueError(logarithm)
    bad = np.isnan(values) | (values == np.inf) if output == "log_density" else ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"the prediction holds {np.count_nonzero(bad)} NaN or infinite values")
    if output == "log_density":
        return _finish_log(values, geometry)
    if output == "density":
        if float(values.min()) < 0:
            raise ValueError("the prediction is declared a density and holds negative values")
        if geometry.action == AS_IT_IS:
            return values.astype(np.float32)
        return _scale_to_sum_1(values, geometry)
    if postprocess:
        nothing = nothing_left_words(values)
        if nothing:
            raise ValueError(nothing)
        return _scale_to_sum_1(np.maximum(values, 0), geometry)
    if float(np.abs(values).max()) > _LARGEST:
        raise ValueError(f"the prediction holds values beyond {_LARGEST:g}")
    return geometry.finish(values)


def _scale_to_sum_1(values: NDArray[Any], geometry: Geometry) -> Finished:
    """Apply the geometry and divide by the sum; zeros stay zeros."""
    top = float(values.max())
    if top == 0:
        return np.zeros(geometry.final, dtype=np.float32)
    # divide by the maximum first: the values may exceed the range of float32
    exact = geometry.finish(values.astype(np.float64) / top).astype(np.float64)
    total = exact.sum()
    # a crop may remove every value above 0
    return np.asarray(exact / total if total > 0 else exact, dtype=np.float32)


def _finish_log(values: NDArray[Any], geometry: Geometry) -> Finished:
    top = float(values.max())
    if top == -np.inf:
        raise ValueError("the prediction is a log density of -inf everywhere")
    if geometry.action == AS_IT_IS:
        return values.astype(np.float32)
    density = geometry.finish(np.exp(values.astype(np.float64) - top)).astype(np.float64)
    total = density.sum()
    if not total > 0:
        raise ValueError("the prediction is a log density of -inf everywhere that is not cropped")
    with np.errstate(divide="ignore"):
        return (np.log(density) - math.log(total)).astype(np.float32)
