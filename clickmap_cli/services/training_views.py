"""Show and log a training while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickmap_cli.config.saliency import Stage
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.training.blocks import BlockRow
from clickmap_cli.training.fitting import Watch
from clickmap_cli.training.trackers import CsvTracker, Row, TensorBoardTracker, Tracker

HISTORY = "history.csv"


@dataclass(frozen=True)
class TrainingViews:
    """Functions that show a training while it runs; `reports/` provides them.

    Attributes:
        stage: shows the title of a new stage, and its parameters by block.
        live: shows the current state of the training in one line.
    """

    stage: Callable[[str, Sequence[BlockRow]], None]
    live: Callable[[str], None]


class Shown(Watch):
    """Shows stage, epoch, loss and scores of a training."""

    def __init__(self, title: str, views: TrainingViews, progress: Progress) -> None:
        self._title = title
        self._views = views
        self._progress = progress
        self._scores = ""

    def stage(self, stage: Stage, table: Sequence[BlockRow], steps_left: int) -> None:
        """Show which blocks are trained, and how many steps are left."""
        self._views.stage(f"{self._title}, stage {stage.name}", table)
        self._progress.stage(f"{self._title}, {stage.name}", steps_left)

    def restart(self, file: Path) -> None:
        """Say why a training starts again from the beginning."""
        self._progress.notice(
            f"{file} is damaged or missing; {self._title} is trained again.", keep=False
        )

    def step(self, epoch: str, loss: float) -> None:
        """Show the loss beside the last scores."""
        self._progress.advance()
        self._views.live(f"{self._title}, {epoch}: loss {loss:.4f}{self._scores}")

    def epoch(self, row: Row) -> None:
        """Keep the validation scores of the epoch, if it has any, for the live line."""
        found = {name: row[name] for name in row if name.startswith("val_")}
        parts = [f"{n.replace('_', ' ')} {v:.3f}" for n, v in found.items() if math.isfinite(v)]
        if parts:
            self._scores = f" ({', '.join(parts)})"


def make_trackers(folder: Path, tensorboard: bool = False) -> list[Tracker]:
    """Return a tracker for `history.csv` in a folder, and one for TensorBoard if it is wanted.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """
    found: list[Tracker] = [CsvTracker(folder / HISTORY)]
    return [*found, TensorBoardTracker(folder / "tensorboard")] if tensorboard else found
