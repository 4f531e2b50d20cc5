"""Turns the model that `participant_filter` names into a function; callers need not know torch."""

from __future__ import annotations

from pathlib import Path

from clickmap_cli.clickmaps.filters import Quality
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.runtime.progress import Progress


def load_judge(config: ExperimentConfig, progress: Progress) -> Quality | None:
    """Return a function that judges participants, or None if no filter applies.

    None applies without `participant_filter`, or to a folder that `prepare` wrote, as its trials
    have already passed the filters. Torch is imported only if a filter applies.

    Raises:
        DataError: the checkpoint is missing, damaged, or not a participant-quality model.
    """
    path = config.participant_filter
    if path is None or Path(str(config.clickme_data)).is_dir():
        return None
    from clickmap_cli.models.participant_quality import load_quality

    model = load_quality(Path(path))
    return lambda trials: model.flags(trials, progress)
