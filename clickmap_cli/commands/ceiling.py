"""`clickmap ceiling`, with the method as the first word or as an option."""

from __future__ import annotations

from typing import Annotated

import typer

from clickmap_cli.commands import completion
from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session, show_notices, when_present
from clickmap_cli.config.experiment import METHODS
from clickmap_cli.reports.console import Terminal

_Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="METHOD|KEY=VALUE",
        help="split-half or hold-one-out, then values that win over the file.",
        show_default=False,
        autocompletion=completion.ceiling_words,
    ),
]
_Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="split-half or hold-one-out, in place of the first word.",
        rich_help_panel=o.JOB,
        autocompletion=completion.among(*METHODS),
    ),
]
_SubjectCurve = Annotated[
    bool,
    typer.Option(
        "--subject-curve",
        help="How many participants are enough (split-half).",
        rich_help_panel=o.JOB,
    ),
]


def ceiling(
    words: _Words = None,
    method: _Method = None,
    config: o.ExperimentFile = None,
    output: o.Output = None,
    subject_curve: _SubjectCurve = False,
    n_jobs: o.NJobs = None,
    backend: o.Backend = None,
    scheduler: o.Scheduler = None,
    device: o.Device = None,
    seed: o.Seed = None,
    resume: o.WhenPresentFlag = None,
    strict: o.Strict = False,
    dry_run: o.DryCeiling = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Measure how well people predict people: the human ceiling, its null and its uncertainty.

    Example: clickmap ceiling split-half --config clickmap_demo/demo.yaml metric=auc
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.loading import load_experiment
        from clickmap_cli.reports import ceiling as report
        from clickmap_cli.reports.console import print_json
        from clickmap_cli.services.ceiling import run as service
        from clickmap_cli.services.ceiling.results import CeilingFigures

        which, overrides = _method_and_overrides(words or [], method)
        chosen = {"output_dir": output, "n_jobs": n_jobs, "device": device, "seed": seed}
        chosen |= {"backend": backend, "scheduler": scheduler}
        settings = show_notices(terminal, load_experiment(config, overrides, chosen))
        figures = CeilingFigures(report.draw_ceiling, report.draw_curve)
        run = service.run(
            settings, which, terminal, figures, when_present(resume), subject_curve, dry_run
        )
        if not dry_run:
            terminal.show(report.ceiling_table(run))
        found = run[0].summary
        if found.rejected:
            terminal.warn(f"{found.rejected:,} of {found.rows:,} rows could not be read.")
        for line in report.summary_lines(run):
            terminal.show(line)
        if json:
            print_json(report.as_json(run))
        return 1 if strict and found.rejected else 0

    run_session(body, quiet=quiet, verbose=verbose)


def _method_and_overrides(words: list[str], method: str | None) -> tuple[str, list[str]]:
    """Return the method and the overrides.

    Raises:
        ConfigError: no method is named, two methods are, or a word is neither a method nor an
            override.
    """
    from clickmap_cli.config.reading import TORN, torn
    from clickmap_cli.runtime.errors import ConfigError, did_you_mean

    named = [word for word in words if "=" not in word]
    if method is not None:
        named.insert(0, method)
    if not named:
        raise ConfigError(f"Say which ceiling: clickmap ceiling {' or '.join(METHODS)}.")
    for word in named:
        if torn(word):
            raise ConfigError(f"'{word}' {TORN}")
        if word not in METHODS:
            raise ConfigError(f"'{word}' is not a method. {did_you_mean(word, METHODS)}")
    if len(set(named)) > 1:
        raise ConfigError(f"Two methods at once: {' and '.join(named)}; run one after the other.")
    return named[0], [word for word in words if "=" in word]
