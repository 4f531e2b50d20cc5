"""What `participant_filter` names, as a function for those who know no network."""

from __future__ import annotations

from pathlib import Path

from clickmap_cli.clickmaps.filters import Quality
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.runtime.progress import Progress


def quality_of(config: ExperimentConfig, progress: Progress) -> Quality | None:
    """Who judges participants, or None where nothing asks for it; torch is loaded only then.

    A folder that `prepare` wrote holds trials that have passed its filters already.

    Raises:
        DataError: the checkpoint is missing, damaged, or no participant-quality model.
    """
    path = config.participant_filter
    if path is None or Path(str(config.clickme_data)).is_dir():
        return None
    from clickmap_cli.models.quality_checkpoint import load_quality

    model = load_quality(Path(path))
    return lambda trials: model.flags(trials, progress)
