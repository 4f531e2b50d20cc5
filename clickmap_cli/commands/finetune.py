"""`clickmap finetune`."""

from __future__ import annotations

from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session, when_present
from clickmap_cli.reports.console import Terminal


def finetune(
    overrides: o.Overrides = None,
    config: o.ConfigFile = None,
    output: o.Output = None,
    n_jobs: o.NJobs = None,
    device: o.Device = None,
    seed: o.Seed = None,
    resume: o.WhenPresentFlag = None,
    dry_run: o.DryRun = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Fine-tune a saliency model on your own maps, with cross-validation.

    Example: clickmap finetune -c configs/finetune_readout_demo.yaml training.lr=0.001
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.loading import FINETUNE, load_config
        from clickmap_cli.reports import finetune as report
        from clickmap_cli.reports.console import print_json
        from clickmap_cli.services import finetune as service

        chosen = {"output_dir": output, "n_jobs": n_jobs, "device": device, "seed": seed}
        loaded = load_config(FINETUNE, config, overrides or (), chosen)
        for text in loaded.notices:
            terminal.notice(text)
        views = service.FinetuneViews(
            lambda title, rows: terminal.show(report.block_table(title, rows)), terminal.describe
        )
        run = service.run(loaded.config, terminal, views, when_present(resume), dry_run)
        if not run.speaks:
            return 0
        for table in report.summary_tables(run):
            terminal.show(table)
        for line in report.failure_lines(run):
            terminal.warn(line)
        for line in report.summary_lines(run):
            terminal.show(line)
        if json:
            print_json(run.summary)
        return 1 if run.n_failures else 0

    run_session(body, quiet=quiet, verbose=verbose)
