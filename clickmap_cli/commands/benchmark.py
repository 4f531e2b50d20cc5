"""`clickmap benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clickmap_cli.commands import completion
from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session, show_notices, show_outcome, when_present
from clickmap_cli.reports.console import Terminal

_Listing = Annotated[
    bool,
    typer.Option(
        "--list",
        help="Name data sets, models and metrics, and stop; with a NAME behind it, every setting "
        "of that one.",
        rich_help_panel=o.JOB,
    ),
]
_Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Values that win over the file; with --list, names to explain.",
        show_default=False,
        autocompletion=completion.benchmark_words,
    ),
]


def benchmark(
    overrides: _Words = None,
    config: o.BenchmarkFile = None,
    output: o.Output = None,
    listing: _Listing = False,
    n_jobs: o.NJobs = None,
    backend: o.Backend = None,
    scheduler: o.Scheduler = None,
    device: o.Device = None,
    seed: o.Seed = None,
    resume: o.WhenPresentFlag = None,
    dry_run: o.DryBenchmark = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Score saliency models against people, and compare the scores with the human ceiling.

    Example: clickmap data toy && clickmap benchmark -c toy/benchmark.yaml metrics=[NSS,CC]
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.loading import BENCHMARK, load_config
        from clickmap_cli.reports import benchmark as report
        from clickmap_cli.reports.benchmark_figures import draw_dive, draw_heatmap
        from clickmap_cli.reports.benchmark_html import write_report
        from clickmap_cli.services.benchmark import run as service
        from clickmap_cli.services.benchmark.pictures import BenchmarkFigures

        if listing:
            return _list(config, overrides or [], json)
        chosen = {"output_dir": output, "n_jobs": n_jobs, "device": device, "seed": seed}
        chosen |= {"backend": backend, "scheduler": scheduler}
        settings = show_notices(terminal, load_config(BENCHMARK, config, overrides or (), chosen))
        figures = BenchmarkFigures(draw_heatmap, write_report, draw_dive)
        run = service.run(settings, terminal, figures, when_present(resume), dry_run)
        return show_outcome(
            terminal, run, report.summary_lines(run), tables=report.score_tables(run.summary),
            json=report.as_json(run) if json else None,
        )  # fmt: skip

    run_session(body, quiet=quiet, verbose=verbose)


def _list(config: Path | None, overrides: list[str], json: bool) -> int:
    """Print everything that a config may name, or the settings of the names given here.

    With a config, this includes the models and data sets of its plugins. The exit code is 0.
    """
    from clickmap_cli.config.loading import BENCHMARK, load_config
    from clickmap_cli.reports.benchmark import listing_json, listing_lines
    from clickmap_cli.reports.config import described_json, described_lines
    from clickmap_cli.reports.console import print_json, print_line
    from clickmap_cli.runtime.registry import load_plugin

    names = [word for word in overrides if "=" not in word]
    if config is not None:
        words = [word for word in overrides if "=" in word]
        for path in load_config(BENCHMARK, config, words).config.plugins:
            load_plugin(Path(path))
    if json:
        found = [thing for name in names for thing in described_json(name)]
        print_json(found if names else listing_json())
        return 0
    named = [line for name in names for line in described_lines(name)]
    for line in named if names else listing_lines():
        print_line(line)
    return 0
