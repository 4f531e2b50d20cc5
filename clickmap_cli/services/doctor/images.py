"""Find images that a model cannot read, before a benchmark runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from clickmap_cli.datasets.base import DataSet, Stimulus
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.services.doctor.facts import Finding

_SHOWN = 50  # largest number of images read per data set


def image_findings(sets: Sequence[DataSet], models: Sequence[Any]) -> Iterator[Finding]:
    """Yield a finding for each model that cannot read some images of a data set.

    Only the first images of each data set are read.

    Args:
        sets: data sets of the benchmark.
        models: models of the benchmark; some do not need images.
    """
    for data in sets:
        looked = data.stimuli[:_SHOWN]
        for model in models:
            absent = [why for stimulus in looked if (why := _why_not_shown(model, stimulus))]
            if absent:
                yield Finding(
                    "note" if len(absent) < len(looked) else "problem",
                    f"{len(absent):,} of {len(looked):,} images that were looked for cannot be "
                    f"shown to {type(model).__name__}: {absent[0]}",
                )


def _why_not_shown(model: Any, stimulus: Stimulus) -> str:
    """Return why a model cannot read an image; empty if it can, or does not need it."""
    try:
        stimulus.image_digest()
    except DataError:
        try:
            model.depends_on(stimulus)
        except DataError as error:
            return str(error)
    return ""
