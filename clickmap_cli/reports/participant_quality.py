"""Terminal output of the participant-quality model."""

from __future__ import annotations

from clickmap_cli.models.participant_quality import QUALITY_FILE
from clickmap_cli.reports.console import interval, number
from clickmap_cli.services.participant_quality.run import QualityRun


def summary_lines(run: QualityRun) -> list[str]:
    """Return the scores on held-out participants, and the command to run next."""
    if not run.written:
        return [f"Would train into {run.folder}; nothing was written."]
    found = run.summary
    unlisted = f", {found['n_unlisted']} not listed" if found["n_unlisted"] else ""
    judged = (
        f"{found['n_judged']} held-out participants ({found['n_good']} good, {found['n_bad']} bad"
        f"{unlisted}): AUC {number(found['auc'])} {interval(found['auc_ci'])}, accuracy "
        f"{found['accuracy']:.3f}, Brier score {found['brier']:.3f}."
    )
    model = run.folder / QUALITY_FILE
    return [
        judged,
        f"{run.folder / 'participants.csv'}: everybody's probability. {run.seconds:.1f} s.",
        f"Next: clickmap prepare --config ... participant_filter={model}",
    ]
