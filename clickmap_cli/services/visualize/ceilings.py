"""Agreement in every metric that the ceilings beside an experiment's maps have."""

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
    """Agreement on each image, one a metric that a ceiling was computed in.

    Args:
        experiment: the prepared folder.
        config: how to run.
        progress: told of ceilings that are of other maps.

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
