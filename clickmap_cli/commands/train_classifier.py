"""`clickmap train-classifier`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session, show_notices, show_outcome, when_present
from clickmap_cli.reports.console import Terminal

if TYPE_CHECKING:
    from clickmap_cli.config.classifier import ClassifierConfig
    from clickmap_cli.config.participant_quality import ParticipantQualityConfig
    from clickmap_cli.storage.folder import WhenPresent


def train_classifier(
    overrides: o.Overrides = None,
    config: o.ClassifierFile = None,
    output: o.Output = None,
    n_jobs: o.NJobs = None,
    device: o.Device = None,
    seed: o.Seed = None,
    resume: o.WhenPresentFlag = None,
    dry_run: o.DryClassifier = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Train a classifier of attention maps or of participants, tested on people it has not seen.

    Example: clickmap data reading-study && clickmap train-classifier -c configs/heatmap_cnn.yaml
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.loading import CLASSIFIER, load_config, schema_of_task

        schema = schema_of_task(CLASSIFIER, config, overrides or ())
        chosen = {"output_dir": output, "seed": seed}
        if schema is CLASSIFIER:
            chosen |= {"n_jobs": n_jobs, "device": device}
        elif n_jobs is not None or device is not None:
            terminal.notice("This small network takes one core; -j and --device change nothing.")
        settings = show_notices(terminal, load_config(schema, config, overrides or (), chosen))
        train = _train_classifier if schema is CLASSIFIER else _train_quality
        return train(terminal, settings, when_present(resume), dry_run, json)

    run_session(body, quiet=quiet, verbose=verbose)


def _train_classifier(
    terminal: Terminal, config: ClassifierConfig, when: WhenPresent, dry_run: bool, json: bool
) -> int:
    from clickmap_cli.reports import classifier as report
    from clickmap_cli.services.classifier import run as service
    from clickmap_cli.services.training_views import TrainingViews

    # no table of parameters: it would be the same for each of twenty trainings
    views = TrainingViews(lambda *_: None, terminal.describe)
    run = service.run(config, terminal, views, report, when, dry_run)
    tables = report.score_tables(run.summary) if run.written else []
    value = run.summary.as_json() if run.written else {}
    lines = report.summary_lines(run)
    return show_outcome(terminal, run, lines, tables=tables, json=value if json else None)


def _train_quality(
    terminal: Terminal,
    config: ParticipantQualityConfig,
    when: WhenPresent,
    dry_run: bool,
    json: bool,
) -> int:
    from clickmap_cli.reports.classifier import quality_lines
    from clickmap_cli.services.participant_quality import run as service
    from clickmap_cli.services.training_views import TrainingViews

    views = TrainingViews(lambda *_: None, terminal.describe)
    run = service.run(config, terminal, views, when, dry_run)
    value = {} if run.summary is None else asdict(run.summary)
    return show_outcome(terminal, run, quality_lines(run), json=value if json else None)
