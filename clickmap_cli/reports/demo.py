"""What a person sees at the end of the demo."""

from __future__ import annotations

from clickmap_cli.reports.prepare import summary_lines as prepare_lines
from clickmap_cli.services.demo import DemoResult


def summary_lines(result: DemoResult) -> list[str]:
    """What was made, where it is, and what to type next."""
    prepared = result.prepared
    return [
        *prepare_lines(prepared),
        "",
        "Look at",
        f"  {prepared.folder / 'examples'}  image, heat and overlay of ten images",
        f"  {prepared.folder / 'funnel.csv'}  what every filter kept",
        f"  {result.trials}  the simulated trials, as your own would be",
        "",
        "Type next",
        f"  clickmap config show --config {result.config}",
        f"  clickmap prepare --config {result.config} experiment_name=wider blur_size=31",
        "  clickmap prepare --help",
    ]
