"""`clickmap train-classifier`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session, when_present
from clickmap_cli.reports.console import Terminal

if TYPE_CHECKING:
    from clickmap_cli.config.classifier import ClassifierConfig
    from clickmap_cli.config.participant_quality import ParticipantQualityConfig
    from clickmap_cli.storage.folder import WhenPresent

    Task = Callable[[Terminal, Any, WhenPresent, bool], tuple[int, Any]]


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

    Example: clickmap data reading-study && clickmap train-classifier -c configs/classifier.yaml
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.classifier import ClassifierConfig
        from clickmap_cli.config.loading import BY_TASK, CLASSIFIER, load_config, schema_of
        from clickmap_cli.config.participant_quality import ParticipantQualityConfig
        from clickmap_cli.reports.console import print_json
        from clickmap_cli.runtime.errors import ConfigError

        words = overrides or ()
        # configuration of a task -> function that runs it
        tasks = {ClassifierConfig: _heatmap, ParticipantQualityConfig: _quality}
        schema = schema_of(config, words)
        if schema.type not in tasks:
            if schema in BY_TASK.values():
                raise ConfigError("This task is one of `clickmap finetune`.")
            schema = CLASSIFIER
        chosen = {"output_dir": output, "seed": seed}
        if schema.type is not ParticipantQualityConfig:
            chosen |= {"n_jobs": n_jobs, "device": device}
        elif n_jobs is not None or device is not None:
            terminal.notice("This small network takes one core; -j and --device change nothing.")
        loaded = load_config(schema, config, words, chosen)
        for text in loaded.notices:
            terminal.notice(text)
        settings: Any = loaded.config
        run = cast("Task", tasks[type(settings)])
        code, summary = run(terminal, settings, when_present(resume), dry_run)
        if json:
            print_json(summary)
        return code

    run_session(body, quiet=quiet, verbose=verbose)


def _heatmap(
    terminal: Terminal, config: ClassifierConfig, when: WhenPresent, dry_run: bool
) -> tuple[int, Any]:
    """Run `task: heatmap`, and return the exit code and the summary."""
    from clickmap_cli.reports import classifier as report
    from clickmap_cli.services.classifier import run as service
    from clickmap_cli.services.classifier.interpretation import ClassifierFigures
    from clickmap_cli.services.training_views import TrainingViews

    # no table of parameters: it would be the same for each of twenty trainings
    views = TrainingViews(lambda *_: None, terminal.describe)
    figures = ClassifierFigures(report.draw_picture, report.draw_averages)
    run = service.run(config, terminal, views, figures, when, dry_run)
    for table in report.score_tables(run):
        terminal.show(table)
    for line in report.failure_lines(run):
        terminal.warn(line)
    for line in report.summary_lines(run):
        terminal.show(line)
    return (1 if run.n_failures else 0), run.summary


def _quality(
    terminal: Terminal, config: ParticipantQualityConfig, when: WhenPresent, dry_run: bool
) -> tuple[int, Any]:
    """Run `task: participant-quality`, and return the exit code and the summary."""
    from clickmap_cli.reports.classifier import quality_lines
    from clickmap_cli.services.participant_quality import run as service
    from clickmap_cli.services.training_views import TrainingViews

    views = TrainingViews(lambda *_: None, terminal.describe)
    run = service.run(config, terminal, views, when, dry_run)
    for line in quality_lines(run):
        terminal.show(line)
    return 0, {} if run.summary is None else asdict(run.summary)
