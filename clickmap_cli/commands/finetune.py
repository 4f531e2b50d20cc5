"""`clickmap finetune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session, show_notices, show_outcome, when_present
from clickmap_cli.reports.console import Terminal

if TYPE_CHECKING:
    from clickmap_cli.config.keypoints import KeypointConfig
    from clickmap_cli.config.saliency import SaliencyConfig
    from clickmap_cli.services.finetune.tables import CvSummary
    from clickmap_cli.services.job import Outcome
    from clickmap_cli.services.training_views import TrainingViews
    from clickmap_cli.storage.folder import WhenPresent

_SOURCE = "task keypoints: find them in a folder of images or a video with best.pth; train nothing."

_PredictOnly = Annotated[
    Path | None,
    typer.Option("--predict-only", metavar="SOURCE", help=_SOURCE, rich_help_panel=o.JOB),
]
_GATHER = "task saliency: join the folds of runs in several folders; train nothing."

_Gather = Annotated[
    list[Path] | None,
    typer.Option("--gather", metavar="FOLDER...", help=_GATHER, rich_help_panel=o.JOB),
]


def finetune(
    overrides: o.Overrides = None,
    config: o.FinetuneFile = None,
    output: o.Output = None,
    n_jobs: o.NJobs = None,
    device: o.Device = None,
    seed: o.Seed = None,
    resume: o.WhenPresentFlag = None,
    predict_only: _PredictOnly = None,
    gather: _Gather = None,
    dry_run: o.DryFinetune = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Train a network on your own data: saliency models on maps, transformers on key points.

    Example: clickmap finetune -c configs/finetune_readout_demo.yaml training.lr=0.001
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.loading import SALIENCY, load_config, schema_of_task
        from clickmap_cli.runtime.errors import ConfigError

        when = when_present(resume)
        chosen = {"output_dir": output, "n_jobs": n_jobs, "device": device, "seed": seed}
        if gather:
            if any(value is not None for value in (config, n_jobs, device, seed, predict_only)):
                raise ConfigError(
                    "--gather takes everything from its folders; give it --output, and neither "
                    "--config, --seed, --device, --n-jobs nor --predict-only."
                )
            folders = [*gather, *map(Path, overrides or ())]
            return _gather_folds(terminal, folders, output, when, dry_run, json)
        schema = schema_of_task(SALIENCY, config, overrides or ())
        settings = show_notices(terminal, load_config(schema, config, overrides or (), chosen))
        if predict_only is None:
            train = _train_saliency if schema is SALIENCY else _train_keypoints
            return train(terminal, settings, when, dry_run, json)
        if schema is SALIENCY:
            raise ConfigError(
                "--predict-only is for task keypoints; a fine-tuned saliency model predicts in "
                "`clickmap benchmark`."
            )
        if dry_run:
            raise ConfigError("--predict-only writes, and --dry-run does not; leave one out.")
        return _predict_keypoints(terminal, settings, predict_only, when, json)

    run_session(body, quiet=quiet, verbose=verbose)


def _train_saliency(
    terminal: Terminal, config: SaliencyConfig, when: WhenPresent, dry_run: bool, json: bool
) -> int:
    from clickmap_cli.reports import finetune as report
    from clickmap_cli.services.finetune import run as service

    run = service.run(config, terminal, _views(terminal), when, dry_run)
    return 0 if run is None else _show_folds(terminal, run, report.summary_line(run), json)


def _gather_folds(
    terminal: Terminal,
    folders: Sequence[Path],
    output: str | None,
    when: WhenPresent,
    dry_run: bool,
    json: bool,
) -> int:
    from clickmap_cli.reports import finetune as report
    from clickmap_cli.runtime.errors import ConfigError
    from clickmap_cli.services.finetune import gather as service

    for folder in folders:
        if "=" in str(folder) and not folder.is_dir():
            raise ConfigError(
                f"--gather takes every setting from its folders, so '{folder}' changes nothing; "
                "leave it out."
            )
    if output is None:
        raise ConfigError("--gather needs --output, a folder for the tables of all folds.")
    run = service.run(folders, Path(output), terminal, when, dry_run)
    return _show_folds(terminal, run, report.gathered_line(run, len(folders)), json)


def _show_folds(terminal: Terminal, run: Outcome[CvSummary | None], line: str, json: bool) -> int:
    from clickmap_cli.reports.finetune import summary_tables

    found = run.summary
    tables = [] if found is None else summary_tables(found)
    value = {} if found is None else found.as_json()
    return show_outcome(terminal, run, [line], tables=tables, json=value if json else None)


def _train_keypoints(
    terminal: Terminal, config: KeypointConfig, when: WhenPresent, dry_run: bool, json: bool
) -> int:
    from clickmap_cli.reports import keypoints as report
    from clickmap_cli.services.keypoints import run as service

    run = service.run(config, terminal, _views(terminal), report, when, dry_run)
    if run is None:
        return 0
    found = run.summary
    tables = [] if found is None else [report.score_table(found)]
    value = {} if found is None else found.as_json()
    lines = report.summary_lines(run)
    return show_outcome(terminal, run, lines, tables=tables, json=value if json else None)


def _predict_keypoints(
    terminal: Terminal, config: KeypointConfig, source: Path, when: WhenPresent, json: bool
) -> int:
    from clickmap_cli.reports import keypoints as report
    from clickmap_cli.services.keypoints import predictions as service

    run = service.run(config, source, terminal, report, when)
    value = {"folder": str(run.folder), **asdict(run.summary)} if json else None
    return show_outcome(terminal, run, [report.prediction_line(run)], json=value)


def _views(terminal: Terminal) -> TrainingViews:
    from clickmap_cli.reports.finetune import block_table
    from clickmap_cli.services.training_views import TrainingViews

    return TrainingViews(
        lambda title, rows: terminal.show(block_table(title, rows)), terminal.describe
    )
