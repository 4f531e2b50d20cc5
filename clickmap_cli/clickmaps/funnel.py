"""The funnel: trials on their way through the filters, and the number that each filter left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.trials import Trials

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class FunnelRow:
    """The trials, images and clicks that one filter left.

    Attributes:
        step: key of the filter in a config.
        setting: value of that key, as text; `off` if the filter does nothing.
        trials: number of trials kept.
        images: number of images that still have trials.
        clicks: number of clicks kept.
    """

    step: str
    setting: str
    trials: int
    images: int
    clicks: int


class Funnel:
    """The trials so far and a row for each filter that has run.

    The funnel owns the trials: the memory of dropped ones is freed unless a caller holds them.

    Args:
        trials: the trials as read.
        rows: number of rows of the file.
    """

    def __init__(self, trials: Trials, rows: int) -> None:
        self.trials = trials
        self.rows = [FunnelRow("rows in the file", "", rows, self._images(), len(trials.x))]
        self._note("unreadable rows", "dropped")

    def by_trial(self, step: str, setting: str, keep: Callable[[Trials], Bools | None]) -> None:
        """Keep the trials for which `keep` returns True; None keeps all."""
        kept = keep(self.trials)
        if kept is not None and not kept.all():
            self.trials = self.trials.select(np.flatnonzero(kept))
        self._note(step, setting)

    def by_image(self, step: str, setting: str, keep: Callable[[Trials], Bools | None]) -> None:
        """Keep the images for which `keep` returns True; None keeps all."""

        def of_trials(trials: Trials) -> Bools | None:
            kept = keep(trials)
            return None if kept is None else kept[trials.image]

        self.by_trial(step, setting, of_trials)

    def replace(self, step: str, setting: str, change: Callable[[Trials], Trials]) -> None:
        """Replace the trials by the result of `change`."""
        self.trials = change(self.trials)
        self._note(step, setting)

    def skip(self, step: str) -> None:
        """Record a filter that is off."""
        self._note(step, "off")

    def compact(self) -> None:
        """Sort the trials; see `Trials.compacted`."""
        self.trials = self.trials.compacted()

    def _note(self, step: str, setting: str) -> None:
        n = len(self.trials)
        self.rows.append(FunnelRow(step, setting, n, self._images(), len(self.trials.x)))

    def _images(self) -> int:
        return int(np.count_nonzero(np.bincount(self.trials.image))) if len(self.trials) else 0
