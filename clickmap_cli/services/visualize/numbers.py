"""Numbers for the figures of distributions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.filters import FunnelRow
from clickmap_cli.clickmaps.reading.side_tables import read_table
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.services.visualize.agreement import Agreement
from clickmap_cli.services.visualize.experiment import PreparedExperiment


@dataclass(frozen=True)
class Spread:
    """The distribution of a count.

    Attributes:
        name: name of the count and of its figure, such as `clicks_per_trial`.
        values: (n) whole numbers.
        median: median of the values.
        mean: mean of the values.
    """

    name: str
    values: NDArray[np.int64]
    median: float
    mean: float

    @property
    def counted(self) -> str:
        """The counted things, such as `clicks`."""
        return self.name.split("_per_")[0]

    @property
    def unit(self) -> str:
        """The unit that each count is for, such as `trial`."""
        return self.name.split("_per_")[1]


@dataclass(frozen=True)
class Group:
    """A category, or a class of categories.

    Attributes:
        name: its name.
        images: number of images.
        trials: number of trials.
        agreement: known scores of its images; empty if agreement is unknown.
    """

    name: str
    images: int
    trials: int
    agreement: NDArray[np.float64]


@dataclass(frozen=True)
class Distributions:
    """All numbers that the figures of distributions show.

    Attributes:
        spreads: trials per participant, clicks per trial, participants per image.
        groups: categories or classes, the one with the most images first.
        agreed: groups with known agreement, the one with the most agreement first, by median.
        grouped_by: `category`, or the name of the file of classes.
        metric: metric of the agreement; empty if it is unknown.
        method: method of the agreement; empty if it is unknown.
        funnel: trials, images and clicks that every filter of `prepare` kept.
    """

    spreads: tuple[Spread, ...]
    groups: tuple[Group, ...]
    agreed: tuple[Group, ...]
    grouped_by: str
    metric: str
    method: str
    funnel: tuple[FunnelRow, ...]


def distributions(
    experiment: PreparedExperiment, agreement: Agreement | None, classes: Path | None
) -> Distributions:
    """Compute the numbers for the figures of distributions.

    Args:
        experiment: the prepared folder.
        agreement: agreement on its images, or None.
        classes: file with the class of each category, or None.

    Raises:
        DataError: the file of classes cannot be read or has an unknown form, or the manifest holds
            no funnel.
    """
    trials = experiment.trials
    spreads = (
        _spread("trials_per_participant", np.bincount(trials.user, minlength=len(trials.users))),
        _spread("clicks_per_trial", trials.n_clicks),
        _spread("participants_per_image", experiment.people),
    )
    names = [experiment.category(code) for code in range(len(experiment.keys))]
    if classes is not None:
        names = _classes_of(names, experiment.keys, classes)
    groups = _groups(experiment, np.array(names, dtype=np.str_), agreement)
    known = [group for group in groups if len(group.agreement)]
    sign = -1 if agreement is None or agreement.higher_is_better else 1
    agreed = sorted(known, key=lambda group: sign * float(np.median(group.agreement)))
    return Distributions(
        spreads=spreads,
        groups=groups,
        agreed=tuple(agreed),
        grouped_by="category" if classes is None else classes.stem,
        metric="" if agreement is None else agreement.metric,
        method="" if agreement is None else agreement.method,
        funnel=_funnel(experiment.manifest.counts),
    )


def _spread(name: str, values: NDArray[Any]) -> Spread:
    return Spread(name, values.astype(np.int64), float(np.median(values)), float(values.mean()))


def _groups(
    experiment: PreparedExperiment, names: NDArray[np.str_], agreement: Agreement | None
) -> tuple[Group, ...]:
    n_trials = np.diff(experiment.slices)
    found = []
    for name in np.unique(names).tolist():
        mine = names == name
        scores = np.empty(0) if agreement is None else agreement.values[mine]
        found.append(
            Group(
                name,
                int(np.count_nonzero(mine)),
                int(n_trials[mine].sum()),
                scores[np.isfinite(scores)],
            )
        )
    return tuple(sorted(found, key=lambda group: (-group.images, group.name)))


def _classes_of(categories: list[str], keys: list[str], path: Path) -> list[str]:
    """Return the class of each image.

    A mapping gives the class of a category or of an image key. The value true means the class with
    the name of the file, and false means `not <name>`. A list gives the categories (or keys) of the
    class with the name of the file.
    """
    table = read_table(path)
    yes, no = path.stem, f"not {path.stem}"
    if isinstance(table, list | tuple):
        members = {str(item) for item in table}
        if any(isinstance(item, dict | list | tuple) for item in table):
            raise DataError(f"{path}: expected a list of categories, found something else.")
        return [
            yes if pair[0] in members or pair[1] in members else no
            for pair in zip(keys, categories, strict=True)
        ]
    if not isinstance(table, Mapping):
        raise DataError(f"{path}: expected category -> class, or a list of categories.")
    named: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, dict | list | tuple) or value is None:
            raise DataError(f"{path}: '{name}' has {value!r}; it must be a word.")
        named[str(name)] = str(value) if not isinstance(value, bool) else yes if value else no
    lost = f"not in {path.name}"
    return [
        named.get(key, named.get(category, lost))
        for key, category in zip(keys, categories, strict=True)
    ]


def _funnel(counts: Mapping[str, Any]) -> tuple[FunnelRow, ...]:
    """Return the funnel from the manifest of `prepare`.

    Raises:
        DataError: the manifest holds no funnel.
    """
    try:
        return tuple(
            FunnelRow(
                str(row["step"]), str(row["setting"]), int(row["trials"]), int(row["images"]),
                int(row["clicks"]),
            )
            for row in counts["funnel"]
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            "The manifest of prepare holds no funnel; run `clickmap prepare --overwrite`."
        ) from error
