"""Output at the end of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clickmap_cli.reports import benchmark, ceiling, prepare
from clickmap_cli.scoring.results import BenchmarkResult
from clickmap_cli.services.demo import DemoStudy
from clickmap_cli.services.job import Outcome
from clickmap_cli.services.prepare.run import PrepareSummary


def summary_lines(
    study: DemoStudy,
    prepared: Outcome[PrepareSummary],
    ceilings: Sequence[ceiling.Outcomes],
    scored: Outcome[BenchmarkResult],
) -> list[str]:
    """Return what was made, its location, and the commands to try next."""
    return [
        *prepare.summary_lines(prepared),
        *(line for run in ceilings for line in ceiling.summary_lines(run)),
        *benchmark.summary_lines(scored),
        "",
        "Look at",
        f"  {scored.folder / 'report.html'}  models against people, image by image",
        f"  {prepared.folder / 'examples'}  image, heat and overlay of ten images",
        f"  {prepared.folder / 'funnel.csv'}  what every filter kept",
        f"  {prepared.folder / 'ceiling'}  how well people predict people, with figures",
        f"  {study.trials}  the simulated trials, as your own would be",
        "",
        "Type next",
        f"  clickmap config show --config {study.config}",
        f"  clickmap prepare --config {study.config} experiment_name=wider blur_size=31",
        f"  clickmap ceiling split-half --config {study.config} metric=auc",
        f"  clickmap visualize --config {study.config} --html",
        f"  clickmap benchmark --config {study.benchmark} --overwrite heatmaps_png.enabled=true",
    ]


def as_json(
    prepared: Outcome[PrepareSummary],
    ceilings: Sequence[ceiling.Outcomes],
    benchmarks: Sequence[Outcome[BenchmarkResult]],
) -> dict[str, Any]:
    """Return what was made, as one JSON value."""
    names = ("benchmark", "networks")
    return {
        "prepare": prepare.as_json(prepared),
        "ceiling": [ceiling.as_json(run) for run in ceilings],
        **{name: benchmark.as_json(run) for name, run in zip(names, benchmarks, strict=False)},
    }
