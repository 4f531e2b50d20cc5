"""`clickmap visualize`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from clickmap_cli.commands import options as o
from clickmap_cli.commands import visualize_options as v
from clickmap_cli.commands.session import run_session, show_notices, show_outcome, when_present
from clickmap_cli.reports.console import Terminal
from clickmap_cli.storage.folder import WhenPresent

if TYPE_CHECKING:
    from clickmap_cli.config.experiment import ExperimentConfig
    from clickmap_cli.services.visualize.options import Look, VisualizeOptions


def visualize(
    context: typer.Context,
    overrides: o.Overrides = None,
    config: o.ExperimentFile = None,
    output: o.Output = None,
    top: v.Top = None,
    by: v.By = None,
    random: v.Random = None,
    figures: v.Figures = None,
    bins: v.Bins = None,
    classes: v.Classes = None,
    html: v.Html = False,
    participants: v.Participants = "auto",
    notebook: v.Notebook = None,
    benchmarks: v.Benchmarks = None,
    formats: v.Formats = "png",
    preset: v.Preset = "screen",
    colormap: v.Colormap = "inferno",
    alpha: v.Alpha = 0.6,
    normalize: v.Normalize = "max",
    colour_bar: v.ColourBar = True,
    by_count: v.ByCount = False,
    order: v.Order = "points",
    n_jobs: o.NJobs = None,
    device: o.Device = None,
    seed: o.Seed = None,
    resume: o.WhenPresentFlag = None,
    dry_run: o.DryPictures = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Draw what `prepare` made: images with their maps, participants, clicks, distributions.

    Example: clickmap visualize -c configs/osie_mouse.yaml --top 5 --by disagreement --preset paper
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.config.loading import load_experiment
        from clickmap_cli.reports.console import print_json
        from clickmap_cli.reports.overlays import palette
        from clickmap_cli.reports.style import FORMATS, PRESETS
        from clickmap_cli.services.visualize.options import (
            KINDS,
            Look,
            VisualizeOptions,
            require_known,
        )

        forms = {"--html": html, "--notebook": notebook is not None}
        v.check_fit(context, [form for form, asked in forms.items() if asked])
        look = Look(colormap, alpha, normalize, colour_bar, by_count, preset, order)
        palette(colormap, "--colormap")
        require_known("--preset", [preset], PRESETS)
        require_known("--format", _words(formats), FORMATS)
        kinds = KINDS if figures in (None, "all") else _words(figures)
        options = VisualizeOptions(look, top, by, random, kinds, _words(formats), bins, classes)
        chosen = {"output_dir": output, "n_jobs": n_jobs, "device": device, "seed": seed}
        settings = show_notices(terminal, load_experiment(config, overrides or (), chosen))
        call = _Call(settings, terminal, when_present(resume), dry_run)
        results = []
        if html:
            results.append(_write_gallery(call, look, participants))
        if notebook is not None:
            results.append(_write_notebook(call, notebook, benchmarks or [], config is None))
        if figures is not None or not results:
            results.append(_draw_figures(call, options))
        if json:
            print_json(results[0] if len(results) == 1 else results)
        return 0

    run_session(body, quiet=quiet, verbose=verbose)


@dataclass(frozen=True)
class _Call:
    """The arguments that every part of the command gets."""

    config: ExperimentConfig
    terminal: Terminal
    when: WhenPresent
    dry_run: bool


def _draw_figures(call: _Call, options: VisualizeOptions) -> Any:
    """Draw figures, print a summary, and return it as JSON values."""
    from clickmap_cli.reports import visualize as report
    from clickmap_cli.reports.figures import all_figures
    from clickmap_cli.services.visualize import figures as service

    run = service.run(call.config, options, call.terminal, all_figures(), call.when, call.dry_run)
    tables = [report.images_table(run)] if run.summary.images else []
    show_outcome(call.terminal, run, report.summary_lines(run), tables=tables)
    return report.as_json(run)


def _write_gallery(call: _Call, look: Look, participants: str) -> Any:
    """Write the gallery, print where it is, and return a summary as JSON values."""
    from clickmap_cli.reports import gallery_html
    from clickmap_cli.reports import visualize as report
    from clickmap_cli.services.visualize import gallery as service

    run = service.run(
        call.config, look, participants, call.terminal, gallery_html, call.when, call.dry_run
    )
    show_outcome(call.terminal, run, report.gallery_lines(run))
    return report.gallery_json(run)


def _write_notebook(call: _Call, path: Path, benchmarks: list[Path], alone: bool) -> Any:
    """Write the notebook, which without a configuration shows only the benchmarks."""
    from clickmap_cli.reports.viewer import write_notebook
    from clickmap_cli.reports.visualize import notebook_line

    folder = call.config.folder
    folders = benchmarks if alone and benchmarks else [folder, *benchmarks]
    written = not call.dry_run and write_notebook(path, folders, call.when)
    call.terminal.show(notebook_line(path, written, call.dry_run))
    return {
        "command": "visualize --notebook",
        "notebook": path,
        "folders": folders,
        "written": written,
    }


def _words(text: str) -> tuple[str, ...]:
    """Return the words between commas, each once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",")))
