"""Notices about odd predictions of a model, one sentence per kind for a whole data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from clickmap_cli.datasets.maps import FEW_LEVELS


def oddity_notices(found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yield a sentence for each kind of oddity that a model's predictions have.

    Args:
        found: image id -> its prediction's oddities (see `plausible_maps.oddities`), empty for a
            normal prediction; it holds every image that was predicted.
    """
    n = len(found)

    def those(kind: str) -> dict[str, float]:
        return {image: found[image][kind] for image in sorted(found) if kind in found[image]}

    constant = those("constant")
    if constant:
        first, value = next(iter(constant.items()))
        how_many = f"all {n}" if len(constant) == n else f"{len(constant)} of {n}"
        yield (
            f"{how_many} predictions are constant, {first} for one ({value:.4g} everywhere); they "
            "have the scores of chance."
        )
    levels = those("levels")
    if levels:
        first, count = next(iter(levels.items()))
        yield (
            f"{len(levels)} of {n} predictions have fewer than {FEW_LEVELS} different values, "
            f"{first} for one ({int(count)}); ties decide their AUC."
        )
    below = those("below_zero")
    if below:
        first, share = next(iter(below.items()))
        yield (
            f"{len(below)} of {n} predictions have values below 0, which are clipped to 0: "
            f"{np.mean(list(below.values())):.1%} of the pixels of these images ({first} for one: "
            f"{share:.1%}); if the sign matters, shift the maps, or set output: log_density if "
            "they hold logarithms."
        )
    sums = those("sum")
    if sums:
        first, total = next(iter(sums.items()))
        yield (
            f"{len(sums)} of {n} predictions are declared densities and do not sum to 1, {first} "
            f"for one ({total:.4g}); IG takes them as they are. Set output to what they hold: "
            "map (which is scaled), density or log_density."
        )
