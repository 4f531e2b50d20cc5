"""Agreement of people on each image, read from an existing ceiling or computed."""

from __future__ import annotations

import csv
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.loading import experiment_from_values, numbers_hash
from clickmap_cli.metrics.map_scores import MAP_SCORES, require_solver
from clickmap_cli.runtime.errors import ClickmapError, DataError
from clickmap_cli.runtime.parallel import LocalPool
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.ceiling.scores import Plan, score_images
from clickmap_cli.services.visualize.experiment import PreparedExperiment
from clickmap_cli.storage.manifest import load_manifest

QUICK_TRIALS = 20_000
"""Maximum trials for which agreement is computed for a figure that can be left out."""

_METHODS = ("hold-one-out", "split-half")
_FALLBACK = "spearman"  # used if the only metric is rsa, which single images do not have


@dataclass(frozen=True)
class Agreement:
    """Agreement of people, image by image.

    Attributes:
        values: (images) scores; NaN for an image without one.
        metric: metric of the scores.
        method: `hold-one-out` or `split-half`.
        higher_is_better: True if a higher score means more agreement.
        table: the ceiling's table that was read; None if the scores were computed.
    """

    values: NDArray[np.float64]
    metric: str
    method: str
    higher_is_better: bool
    table: Path | None = None

    def ranked(self, *, most_first: bool) -> NDArray[np.intp]:
        """Return the images that have a score by agreement; ties keep the images' order."""
        known = np.flatnonzero(np.isfinite(self.values))
        sign = -1 if most_first == self.higher_is_better else 1
        return known[np.argsort(sign * self.values[known], kind="stable")]


def find_agreement(
    experiment: PreparedExperiment,
    config: ExperimentConfig,
    needed: bool,
    progress: Progress,
    compute: bool = True,
) -> Agreement | None:
    """Return agreement by the first metric of the configuration that applies to single images.

    Args:
        experiment: the prepared folder.
        config: configuration with `metric`, and the number of workers.
        needed: compute it however long that takes; False = only for at most `QUICK_TRIALS` trials.
        progress: receives a notice about the source of the scores.
        compute: compute the scores if a ceiling is missing; False = only read a ceiling.

    Returns:
        The agreement, or None if a ceiling is missing and nothing is computed.

    Raises:
        DataError: a ceiling's table is damaged.
    """
    metric = next((name for name in config.metric if name in MAP_SCORES), _FALLBACK)
    found = _read_ceiling(experiment, metric, progress)
    if found is not None:
        return found
    if not compute:
        return None
    what = f"clickmap ceiling hold-one-out metric={metric}"
    if not needed and len(experiment.trials) > QUICK_TRIALS:
        progress.notice(
            f"Agreement of {len(experiment.trials):,} trials is not computed for a figure; run "
            f"`{what}` first to see it."
        )
        return None
    progress.notice(
        f"No ceiling of these maps is there: {metric} of held-out participants is computed now; "
        f"`{what}` would keep it."
    )
    return _computed(experiment, metric, config, progress)


def ceilings_beside(experiment: PreparedExperiment, progress: Progress) -> tuple[Agreement, ...]:
    """Return the agreement on each image, once per metric that has a ceiling.

    Args:
        experiment: the prepared folder.
        progress: receives a notice about each ceiling that belongs to other maps.

    Raises:
        DataError: a ceiling's table is damaged.
    """
    found = (_read_ceiling(experiment, metric, progress) for metric in MAP_SCORES)
    return tuple(agreement for agreement in found if agreement is not None)


def _read_ceiling(
    experiment: PreparedExperiment, metric: str, progress: Progress
) -> Agreement | None:
    """Return the agreement of the first method that has a ceiling of these maps."""
    for method in _METHODS:
        table = experiment.folder / "ceiling" / f"{method}-{metric}" / "per_image.csv"
        values = _from_ceiling(table, experiment, progress)
        if values is not None:
            return Agreement(values, metric, method, MAP_SCORES[metric].higher_is_better, table)
    return None


def _computed(
    experiment: PreparedExperiment, metric: str, config: ExperimentConfig, progress: Progress
) -> Agreement:
    """Score every participant against the mean of the others, as the ceiling does."""
    if metric == "emd":
        require_solver()
    score = dataclasses.replace(MAP_SCORES[metric], pool=None)  # no upper bound is needed
    plan = Plan("hold-one-out", [score], config.randomization_iters, 0, config.seed)
    pool = LocalPool(config.n_jobs)
    scored, _ = score_images(experiment.trials, experiment.settings, plan, pool, progress)
    values = np.full(len(experiment.keys), math.nan)
    for code, raw in scored.items():
        known = raw.ceiling[metric][np.isfinite(raw.ceiling[metric])]
        values[code] = known.mean() if len(known) else math.nan
    return Agreement(values, metric, plan.method, score.higher_is_better)


def _from_ceiling(
    table: Path, experiment: PreparedExperiment, progress: Progress
) -> NDArray[np.float64] | None:
    """Return (images) the ceiling's scores; None without a table, or if it is of other maps."""
    manifest = load_manifest(table.parent)
    if manifest is None or not table.is_file():
        return None
    rows = _rows(table)
    code = {key: at for at, key in enumerate(experiment.keys)}
    same = _same_maps(dict(manifest.config), experiment.config) and all(
        key in code and experiment.people[code[key]] == people for key, people, _ in rows
    )
    if not same:
        progress.notice(f"{table.parent} belongs to other maps than those prepared; not used.")
        return None
    values = np.full(len(experiment.keys), math.nan)
    for key, _, score in rows:
        values[code[key]] = score
    return values


def _same_maps(values: dict[str, object], made: ExperimentConfig) -> bool:
    try:
        other = experiment_from_values(values)
    except ClickmapError:
        return False
    return numbers_hash(other, ["maps"]) == numbers_hash(made, ["maps"])


def _rows(table: Path) -> list[tuple[str, int, float]]:
    """Return the image key, participants and score of each line."""
    rows = []
    with table.open(encoding="utf-8", errors="backslashreplace", newline="") as file:
        try:
            for row in csv.DictReader(file):
                score = float(row["ceiling"]) if row["ceiling"] else math.nan
                rows.append((row["image_path"], int(row["n_participants"]), score))
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise DataError(
                f"{table}, line {len(rows) + 2}: not what `clickmap ceiling` writes; run it again "
                "with --overwrite."
            ) from error
    return rows
