"""`clickmap prepare`."""

from __future__ import annotations

from typing import Annotated

import typer

from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session, show_notices, show_outcome, when_present
from clickmap_cli.reports.console import Terminal

_Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Make only part I of N of the maps (job arrays).",
        rich_help_panel=o.RUN,
    ),
]
_Merge = Annotated[
    bool,
    typer.Option(
        "--merge",
        help="Join the parts that --shard made, and write the rest.",
        rich_help_panel=o.RUN,
    ),
]


def prepare(
    overrides: o.Overrides = None,
    config: o.ExperimentFile = None,
    output: o.Output = None,
    n_jobs: o.NJobs = None,
    backend: o.Backend = None,
    scheduler: o.Scheduler = None,
    device: o.Device = None,
    seed: o.Seed = None,
    resume: o.WhenPresentFlag = None,
    shard: _Shard = None,
    merge: _Merge = False,
    strict: o.Strict = False,
    dry_run: o.DryPrepare = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Turn raw trials into clickmaps: read, filter, blur, write.

    Example: clickmap prepare --config clickmap_demo/demo.yaml experiment_name=wide blur_size=31
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.loading import load_experiment
        from clickmap_cli.reports import prepare as report
        from clickmap_cli.services.prepare import run as service
        from clickmap_cli.services.prepare.maps import Part

        chosen = {"output_dir": output, "n_jobs": n_jobs, "device": device, "seed": seed}
        chosen |= {"backend": backend, "scheduler": scheduler}
        settings = show_notices(terminal, load_experiment(config, overrides or (), chosen))
        part = None if shard is None else Part.from_text(shard)
        run = service.run(
            settings, terminal, report.draw_example, when_present(resume), dry_run, part, merge
        )
        if run.summary.rejected:
            terminal.warn(report.rejected_line(run))
        show_outcome(
            terminal, run, report.summary_lines(run), tables=[report.funnel_table(run.summary)],
            json=report.as_json(run) if json else None,
        )  # fmt: skip
        return 1 if strict and run.summary.rejected else 0

    run_session(body, quiet=quiet, verbose=verbose)
