"""From what a model returned to what is scored, the same way for every model and for people."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.datasets.plausible_maps import log_density_words, nothing_left_words
from clickmap_cli.models.base import Output

Finished = NDArray[np.float32]

_LARGEST = float(np.finfo(np.float32).max)


def finished(values: NDArray[Any], output: Output, size: Size, postprocess: bool) -> Finished:
    """A prediction on the image's pixels.

    A map is clipped at 0, resized and scaled to sum 1 (with `postprocess`; else only resized). A
    density is resized and scaled to sum 1 again where its size differs, and a log density likewise
    in the logarithm.

    Args:
        values: (h, w) of any size.
        output: what it is.
        size: height and width of the image.
        postprocess: whether maps are clipped and scaled.

    Returns:
        (h, w) float32 of `size`.

    Raises:
        ValueError: it is no (h, w) array, or holds NaN or infinite values (a log density may hold
            -inf, but somewhere else), or looks like a log density and is not declared one, or
            nothing is left of it once it is clipped.
    """
    if values.ndim != 2 or not values.size:
        raise ValueError(f"the prediction has the shape {values.shape}; it must be (height, width)")
    logarithm = log_density_words(values) if output != "log_density" else None
    if logarithm:
        raise ValueError(logarithm)
    bad = np.isnan(values) | (values == np.inf) if output == "log_density" else ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"the prediction holds {np.count_nonzero(bad)} NaN or infinite values")
    if output == "log_density":
        return _finished_log(values, size)
    if output == "density":
        if float(values.min()) < 0:
            raise ValueError("the prediction is declared a density and holds negative values")
        return values.astype(np.float32) if values.shape == size else _scaled(values, size)
    if postprocess:
        nothing = nothing_left_words(values)
        if nothing:
            raise ValueError(nothing)
        return _scaled(np.maximum(values, 0), size)
    if float(np.abs(values).max()) > _LARGEST:
        raise ValueError(f"the prediction holds values beyond {_LARGEST:g}")
    return resize(values, size)


def _scaled(values: NDArray[Any], size: Size) -> Finished:
    """Resized and scaled to sum 1; zeros stay zeros."""
    top = float(values.max())
    if top == 0:
        return np.zeros(size, dtype=np.float32)
    # to its maximum first: a scale that float32 cannot hold must not reach it
    exact = resize(values.astype(np.float64) / top, size).astype(np.float64)
    return np.asarray(exact / exact.sum(), dtype=np.float32)


def _finished_log(values: NDArray[Any], size: Size) -> Finished:
    top = float(values.max())
    if top == -np.inf:
        raise ValueError("the prediction is a log density of -inf everywhere")
    if values.shape == size:
        return values.astype(np.float32)
    density = resize(np.exp(values.astype(np.float64) - top), size).astype(np.float64)
    with np.errstate(divide="ignore"):
        return (np.log(density) - math.log(density.sum())).astype(np.float32)
