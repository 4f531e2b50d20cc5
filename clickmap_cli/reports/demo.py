"""Output at the end of the demo."""

from __future__ import annotations

from typing import Any

from clickmap_cli.reports import benchmark, ceiling, prepare
from clickmap_cli.services.demo import DemoResult


def summary_lines(result: DemoResult) -> list[str]:
    """Return what was made, its location, and the commands to try next."""
    prepared, models = result.prepared, result.benchmark_config
    return [
        *prepare.summary_lines(prepared),
        *(line for run in result.ceilings for line in ceiling.summary_lines(run)),
        *benchmark.summary_lines(result.benchmark),
        "",
        "Look at",
        f"  {result.benchmark.folder / 'report.html'}  models against people, image by image",
        f"  {prepared.folder / 'examples'}  image, heat and overlay of ten images",
        f"  {prepared.folder / 'funnel.csv'}  what every filter kept",
        f"  {prepared.folder / 'ceiling'}  how well people predict people, with figures",
        f"  {result.trials}  the simulated trials, as your own would be",
        "",
        "Type next",
        f"  clickmap config show --config {result.config}",
        f"  clickmap prepare --config {result.config} experiment_name=wider blur_size=31",
        f"  clickmap ceiling split-half --config {result.config} metric=auc",
        f"  clickmap visualize --config {result.config} --html",
        f"  clickmap benchmark --config {models} --overwrite heatmaps_png.enabled=true",
    ]


def as_json(result: DemoResult) -> dict[str, Any]:
    """Return what was made, as one JSON value."""
    made = {
        "prepare": prepare.as_json(result.prepared),
        "ceiling": [ceiling.as_json(run) for run in result.ceilings],
        "benchmark": benchmark.as_json(result.benchmark),
    }
    return (
        made
        if result.networks is None
        else {**made, "networks": benchmark.as_json(result.networks)}
    )
