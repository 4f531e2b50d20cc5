"""`clickmap demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session, show_outcome, when_present
from clickmap_cli.reports.console import Terminal
from clickmap_cli.storage.folder import WhenPresent

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
        from clickmap_cli.config.experiment import METHODS
        from clickmap_cli.config.loading import BENCHMARK, load_config, load_experiment
        from clickmap_cli.reports import benchmark as benchmark_report
        from clickmap_cli.reports import ceiling as ceiling_report
        from clickmap_cli.reports import demo as report
        from clickmap_cli.reports import prepare as prepare_report
        from clickmap_cli.reports.benchmark_figures import draw_dive, draw_heatmap
        from clickmap_cli.reports.benchmark_html import write_report
        from clickmap_cli.reports.console import print_json
        from clickmap_cli.services import demo as service
        from clickmap_cli.services.benchmark import run as benchmark
        from clickmap_cli.services.benchmark.pictures import BenchmarkFigures
        from clickmap_cli.services.ceiling import run as ceiling
        from clickmap_cli.services.ceiling.results import CeilingFigures
        from clickmap_cli.services.prepare import run as prepare

        when = when_present(resume)
        if when is WhenPresent.STOP and service.resumes_by_itself(folder):
            when = WhenPresent.RESUME
        study = service.write_study(
            folder, terminal, when, seed=seed or 0, everything=everything
        ).summary
        config = load_experiment(study.config).config
        prepared = prepare.run(config, terminal, prepare_report.draw_example, when)
        terminal.show(prepare_report.funnel_table(prepared.summary))
        figures = CeilingFigures(ceiling_report.draw_ceiling, ceiling_report.draw_curve)
        ceilings = []
        for method in METHODS:
            curve = method == "split-half"
            ceilings.append(ceiling.run(config, method, terminal, figures, when, curve))
            terminal.show(ceiling_report.ceiling_table(ceilings[-1]))
        drawing = BenchmarkFigures(draw_heatmap, write_report, draw_dive)
        benchmarks = []
        for path in (study.benchmark, study.networks):
            if path is not None:
                settings = load_config(BENCHMARK, path).config
                benchmarks.append(benchmark.run(settings, terminal, drawing, when))
                tables = benchmark_report.score_tables(benchmarks[-1].summary)
                show_outcome(terminal, benchmarks[-1], (), tables=tables)
        for line in report.summary_lines(study, prepared, ceilings, benchmarks[0]):
            terminal.show(line)
        if json:
            print_json(report.as_json(prepared, ceilings, benchmarks))
        return 1 if any(run.failures for run in benchmarks) else 0

    run_session(body, quiet=quiet, verbose=verbose)
