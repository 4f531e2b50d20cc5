"""The progress of a training, and the checkpoint from which an interrupted one resumes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clickmap_cli.runtime.errors import RunError
from clickmap_cli.storage.atomic import is_whole
from clickmap_cli.training.checkpoints import BEST, LAST, load
from clickmap_cli.training.fit_job import FitJob


@dataclass
class Place:
    """The state of a training apart from its weights; all of it is stored in `last.pth`."""

    stage: int = 0
    stage_epoch: int = 0
    epoch: int = 0
    best: float = math.inf
    best_epoch: int = 0
    stage_best: float = math.inf
    waited: int = 0
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def load_last(job: FitJob) -> dict[str, Any] | None:
    """Read the checkpoint to resume from; None if it is missing or damaged.

    A missing or changed `best.pth` also makes the checkpoint unusable.

    Raises:
        RunError: the checkpoint is of another training.
    """
    path = job.folder / LAST
    if not path.is_file():
        return None
    try:
        stored = load(path)
    except RunError:
        job.watch.anew(path)
        return None
    if stored.get("identity") != job.identity:
        raise RunError(f"{path} is of another training; run again with --overwrite.")
    if _best_is_whole(job.folder / BEST, stored):
        return stored
    job.watch.anew(job.folder / BEST)
    return None


def _best_is_whole(path: Path, stored: Mapping[str, Any]) -> bool:
    """Return True if `best.pth` is the file that a checkpoint refers to."""
    place = stored["place"]
    if not place["best_epoch"]:
        return True
    if is_whole(path, {"sha256": stored.get("best_sha256")}):
        return True
    if place["finished"] or not path.is_file():
        return False
    try:  # killed between `best.pth` and `last.pth`: the epoch is repeated and writes both again
        return bool(load(path)["about"]["epoch"] == place["epoch"] + 1)
    except (RunError, KeyError, TypeError):
        return False
