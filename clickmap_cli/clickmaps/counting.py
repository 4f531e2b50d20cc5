"""Click counts: medians and totals per image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.trials import Trials

COUNTED = (
    "Clicks in one trial, of the trials and clicks that passed every filter. click_counts.json "
    "holds the sum of these clicks over all trials of an image, not the number of its trials."
)
"""Text in `medians.json`: the field's scripts count trials where `prepare` counts clicks."""


def click_medians(trials: Trials, percentile: float) -> dict[str, Any]:
    """Summarise the clicks per trial for `medians.json`.

    Args:
        trials: a `compacted` table with at least one trial.
        percentile: percentile (0 to 100) over all trials that is written as `threshold`.

    Returns:
        `counts`: a text that says what is counted; `image` and `category`: name -> median; `all`:
        `median`, `mean`, `threshold`.
    """
    lengths = trials.n_clicks
    category = trials.category[trials.image]
    return {
        "counts": COUNTED,
        "image": _medians(lengths, trials.image, trials.images),
        "category": _medians(lengths, category, trials.categories),
        "all": {
            "median": float(np.median(lengths)),
            "mean": float(np.mean(lengths)),
            "threshold": float(np.percentile(lengths, percentile)),
        },
    }


def clicks_per_image(trials: Trials) -> NDArray[np.int64]:
    """Return (images) number of clicks of all trials of each image of a `compacted` table."""
    return np.diff(trials.offsets[trials.image_slices()])


def _medians(
    lengths: NDArray[np.int64], group: NDArray[np.int32], names: NDArray[np.str_]
) -> dict[str, float]:
    order = np.lexsort((lengths, group))
    ordered, keys = lengths[order], group[order]
    bounds = np.searchsorted(keys, np.arange(len(names) + 1))
    return {
        str(name): float(np.median(ordered[first:last]))
        for name, first, last in zip(names, bounds[:-1], bounds[1:], strict=True)
        if last > first
    }
