"""`clickmap demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session, when_present
from clickmap_cli.reports.console import Terminal

_Folder = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Folder that the demo is written into.",
        rich_help_panel=o.INPUT,
        callback=o.output_folder,
    ),
]
_Everything = Annotated[
    bool,
    typer.Option("--all", help="Also run every network model.", rich_help_panel=o.JOB),
]


def demo(
    folder: _Folder = Path("clickmap_demo"),
    everything: _Everything = False,
    seed: o.Seed = None,
    resume: o.WhenPresentFlag = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Simulate a study with a known truth and run the main commands on it.

    Example: clickmap demo --output /tmp/demo
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.reports import benchmark as benchmark_report
        from clickmap_cli.reports import ceiling as ceiling_report
        from clickmap_cli.reports import demo as report
        from clickmap_cli.reports import prepare as prepare_report
        from clickmap_cli.reports.benchmark_figures import draw_dive, draw_heatmap
        from clickmap_cli.reports.benchmark_html import write_report
        from clickmap_cli.reports.console import print_json
        from clickmap_cli.reports.prepare import draw_example
        from clickmap_cli.services import demo as service
        from clickmap_cli.services.benchmark.pictures import BenchmarkFigures
        from clickmap_cli.services.ceiling.outputs import CeilingFigures

        figures = service.DemoFigures(
            draw_example,
            CeilingFigures(ceiling_report.draw_ceiling, ceiling_report.draw_curve),
            BenchmarkFigures(draw_heatmap, write_report, draw_dive),
        )
        when = when_present(resume)
        result = service.run(folder, terminal, figures, when, seed or 0, everything)
        terminal.show(prepare_report.funnel_table(result.prepared.summary))
        for ceiling_run in result.ceilings:
            terminal.show(ceiling_report.ceiling_table(ceiling_run))
        runs = [result.benchmark, *([result.networks] if result.networks else [])]
        for run in runs:
            for table in benchmark_report.score_tables(run.summary):
                terminal.show(table)
            for line in benchmark_report.failure_lines(run):
                terminal.warn(line)
        for line in report.summary_lines(result):
            terminal.show(line)
        if json:
            print_json(report.as_json(result))
        return 1 if any(run.failures for run in runs) else 0

    run_session(body, quiet=quiet, verbose=verbose)
