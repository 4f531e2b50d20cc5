"""`clickmap finetune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session, when_present
from clickmap_cli.reports.console import Terminal

if TYPE_CHECKING:
    from clickmap_cli.config.keypoints import KeypointConfig
    from clickmap_cli.config.saliency import SaliencyConfig
    from clickmap_cli.services.finetune.run import FinetuneRun
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
    if gather:
        own = any(x is not None for x in (config, n_jobs, device, seed, predict_only))
        call = _Gathering([*gather, *map(Path, overrides or ())], output, resume, dry_run, own)
        run_session(lambda terminal: _gather(terminal, call, json), quiet=quiet, verbose=verbose)

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.keypoints import KeypointConfig
        from clickmap_cli.config.loading import BY_TASK, SALIENCY, load_config, schema_of
        from clickmap_cli.config.saliency import SaliencyConfig
        from clickmap_cli.reports.console import print_json
        from clickmap_cli.reports.finetune import block_table
        from clickmap_cli.runtime.errors import ConfigError
        from clickmap_cli.services.training_views import TrainingViews

        words = overrides or ()
        schema = schema_of(config, words)
        chosen = {"output_dir": output, "n_jobs": n_jobs, "device": device, "seed": seed}
        if schema.type not in (SaliencyConfig, KeypointConfig):
            if schema in BY_TASK.values():
                raise ConfigError("This task is one of `clickmap train-classifier`.")
            schema = SALIENCY
        loaded = load_config(schema, config, words, chosen)
        for text in loaded.notices:
            terminal.notice(text)
        views = TrainingViews(
            lambda title, rows: terminal.show(block_table(title, rows)), terminal.describe
        )
        settings: Any = loaded.config
        if isinstance(settings, KeypointConfig):
            if predict_only is not None and dry_run:
                raise ConfigError("--predict-only writes, and --dry-run does not; leave one out.")
            if predict_only is not None:
                return _predict(terminal, settings, predict_only, when_present(resume), json)
            code, summary = _keypoints(terminal, settings, views, when_present(resume), dry_run)
        elif predict_only is not None:
            raise ConfigError(
                "--predict-only is for task keypoints; a fine-tuned saliency model predicts in "
                "`clickmap benchmark`."
            )
        else:
            code, summary = _saliency(terminal, settings, views, when_present(resume), dry_run)
        if json and summary is not None:
            print_json(summary)
        return code

    run_session(body, quiet=quiet, verbose=verbose)


def _saliency(
    terminal: Terminal,
    config: SaliencyConfig,
    views: TrainingViews,
    when: WhenPresent,
    dry_run: bool,
) -> tuple[int, Any]:
    """Fine-tune a saliency model; return the exit code and the summary.

    The summary is None in the processes of a distributed run that print nothing.
    """
    from clickmap_cli.reports import finetune as report
    from clickmap_cli.services.finetune import run as service

    run = service.run(config, terminal, views, when, dry_run)
    if not run.speaks:
        return 0, None
    return _say(terminal, run, report.summary_lines(run))


@dataclass(frozen=True)
class _Gathering:
    """The words of a call with `--gather`.

    Attributes:
        folders: folders of the runs to join.
        output: value of `--output`.
        resume: value of `--resume/--overwrite`; None = neither was given.
        dry_run: value of `--dry-run`.
        others: True if options were given that have no effect with `--gather`.
    """

    folders: Sequence[Path]
    output: str | None
    resume: bool | None
    dry_run: bool
    others: bool


def _gather(terminal: Terminal, call: _Gathering, json: bool) -> int:
    """Join the folds of several folders, and return the exit code."""
    from clickmap_cli.reports import finetune as report
    from clickmap_cli.reports.console import print_json
    from clickmap_cli.runtime.errors import ConfigError
    from clickmap_cli.services.finetune import gather as service

    if call.others:
        raise ConfigError(
            "--gather takes everything from its folders; give it --output, and neither --config, "
            "--seed, --device, --n-jobs nor --predict-only."
        )
    for folder in call.folders:
        if "=" in str(folder) and not folder.is_dir():
            raise ConfigError(
                f"--gather takes every setting from its folders, so '{folder}' changes nothing; "
                "leave it out."
            )
    if call.output is None:
        raise ConfigError("--gather needs --output, a folder for the tables of all folds.")
    when = when_present(call.resume)
    run = service.run(call.folders, Path(call.output), terminal, when, call.dry_run)
    code, summary = _say(terminal, run, report.gathered_lines(run, len(call.folders)))
    if json:
        print_json(summary)
    return code


def _say(terminal: Terminal, run: FinetuneRun, lines: Sequence[str]) -> tuple[int, Any]:
    """Print the tables, the failures and the last lines; return the exit code and the summary."""
    from clickmap_cli.reports import finetune as report

    for table in report.summary_tables(run):
        terminal.show(table)
    for line in report.failure_lines(run):
        terminal.warn(line)
    for line in lines:
        terminal.show(line)
    return (1 if run.n_failures else 0), run.summary


def _keypoints(
    terminal: Terminal,
    config: KeypointConfig,
    views: TrainingViews,
    when: WhenPresent,
    dry_run: bool,
) -> tuple[int, Any]:
    from clickmap_cli.reports import keypoints as report
    from clickmap_cli.services.keypoints import run as service

    run = service.run(config, terminal, views, _figures(), when, dry_run)
    if not run.speaks:
        return 0, None
    table = report.score_table(run)
    if table is not None:
        terminal.show(table)
    for line in report.summary_lines(run):
        terminal.show(line)
    return 0, run.summary


def _predict(
    terminal: Terminal, config: KeypointConfig, source: Path, when: WhenPresent, json: bool
) -> int:
    from clickmap_cli.reports import keypoints as report
    from clickmap_cli.reports.console import print_json
    from clickmap_cli.services.keypoints import predictions as service

    run = service.run(config, source, terminal, _figures(), when)
    for line in report.failure_lines(run):
        terminal.warn(line)
    for line in report.prediction_lines(run):
        terminal.show(line)
    if json:
        print_json(report.prediction_json(run))
    return 1 if run.failures else 0


def _figures() -> Any:
    """Return the functions that draw the pictures of key points."""
    from clickmap_cli.reports.keypoints import draw_attention, draw_losses, draw_overlay, draw_sheet
    from clickmap_cli.services.keypoints.pictures import KeypointFigures

    return KeypointFigures(draw_sheet, draw_overlay, draw_attention, draw_losses)
