"""Reads agreement in every metric for which an experiment's folder has a ceiling."""

from __future__ import annotations

import dataclasses

from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.metrics.map_scores import MAP_SCORES
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.visualize.agreement import Agreement, find_agreement
from clickmap_cli.services.visualize.experiment import PreparedExperiment


def ceilings_beside(
    experiment: PreparedExperiment, config: ExperimentConfig, progress: Progress
) -> tuple[Agreement, ...]:
    """Return the agreement on each image, once per metric that has a ceiling.

    Args:
        experiment: the prepared folder.
        config: the checked configuration.
        progress: receives a notice about each ceiling that belongs to other maps.

    Raises:
        DataError: a ceiling's table is damaged.
    """
    tables = (experiment.folder / "ceiling").glob("*/per_image.csv")
    folders = {table.parent.name for table in tables}
    found = []
    for metric in MAP_SCORES:
        if folders & {f"hold-one-out-{metric}", f"split-half-{metric}"}:
            asked = dataclasses.replace(config, metric=[metric])
            found.append(
                find_agreement(experiment, asked, needed=False, progress=progress, compute=False)
            )
    return tuple(agreement for agreement in found if agreement is not None)
