"""Trials that can be read and look wrong: in other pixels, in fractions, with x and y swapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from clickmap_cli.clickmaps.trials import Trials

_MANY_OUTSIDE = 0.1
_FEW_CLICKS, _SMALL_SIDE = 20, 16  # too few, or images too small, to tell what is wrong


def implausible(trials: Trials, image_shape: Sequence[int]) -> Iterator[str]:
    """What a person should look at before they believe the maps.

    Args:
        trials: as read; clicks outside their image are still there.
        image_shape: height and width of the configuration, for the words.

    Yields:
        A sentence for each suspicion.
    """
    if len(trials.x) < _FEW_CLICKS:
        return
    if int(trials.shape.min()) >= _SMALL_SIDE and max(trials.x.max(), trials.y.max()) <= 1:
        yield (
            "The clicks lie in the first two pixels of each image; are they fractions of it? "
            "Multiply x by its width and y by its height."
        )
    outside = _share_outside(trials)
    if outside > _MANY_OUTSIDE:
        turned = _share_outside(replace(trials, x=trials.y, y=trials.x))
        better = outside - turned > _MANY_OUTSIDE
        yield (
            f"{100 * outside:.0f}% of the clicks lie outside their image; is image_shape "
            f"{list(image_shape)} (height, width) the size they are measured in?"
            + (f" With x and y swapped, {100 * turned:.0f}% would." if better else "")
        )


def _share_outside(trials: Trials) -> float:
    """The share of clicks outside their image, block by block: there may be very many."""
    inside = sum(np.count_nonzero(trials.inside(*block)) for block in trials.blocks())
    return 1 - inside / len(trials.x)
