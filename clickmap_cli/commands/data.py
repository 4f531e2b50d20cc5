"""`clickmap data`: make, split, average, import and export data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from clickmap_cli.commands import data_options as d
from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session, show_outcome
from clickmap_cli.reports.console import Terminal

if TYPE_CHECKING:
    from clickmap_cli.services.data.tools import Made

app = typer.Typer(no_args_is_help=True)


@app.callback(epilog=o.chapter("Models", "Checking"))
def group() -> None:
    """Make, split, average and export data sets.

    Example: clickmap data toy --output toy
    """


@app.command(epilog=o.chapter("Models"))
def toy(
    output: d.Where = Path("toy"),
    images: d.Images = 12,
    seed: o.Seed = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Draw a small corpus with a known truth, and a config that scores models on it.

    Example: clickmap data toy --output toy && clickmap benchmark --config toy/benchmark.yaml
    """

    def job(terminal: Terminal) -> Made:
        from clickmap_cli.services.data import tools as data_tools

        return data_tools.toy(output, images, seed or 0, terminal)

    _run(job, json, quiet, verbose)


@app.command(epilog=o.chapter("Checking"))
def simulate(
    trials: d.Trials = 100_000,
    images: d.SimulatedImages = None,
    users: d.Users = None,
    output: d.Where = Path("simulated"),
    kind: d.Format = "csv",
    pictures: d.Pictures = False,
    seed: o.Seed = None,
    overwrite: d.Replace = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Write trials in any number, with a known truth, and a config that prepares them.

    Example: clickmap data simulate -o big && clickmap prepare -c big/simulate.yaml
    """

    def job(terminal: Terminal) -> Made:
        from clickmap_cli.services.data.simulate import SimulateJob, run

        wanted = SimulateJob(output, trials, images, users, seed or 0, kind, pictures)
        return run(wanted, terminal, overwrite)

    _run(job, json, quiet, verbose)


@app.command(epilog=o.chapter("Models"))
def split(
    which: d.Which,
    test_count: d.TestCount = 30,
    output: d.ListsFolder = None,
    seed: o.Seed = None,
    overwrite: d.Replace = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Hold out images: write train.txt and test.txt, lists of ids for `ids:` and `split:`.

    Example: clickmap data split name=folder root=toy --test-count 3
    """

    def job(_: Terminal) -> Made:
        from clickmap_cli.services.data import tools as data_tools

        return data_tools.split(_settings(which), output, test_count, seed or 0, overwrite)

    _run(job, json, quiet, verbose)


@app.command("gt-mean", epilog=o.chapter("Models", "Fine-tuning"))
def gt_mean(
    which: d.Which,
    output: d.Where = Path("gt_mean"),
    aggregate: d.Aggregate = "mean",
    overwrite: d.Replace = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Average ground-truth maps over participants, each scaled to sum 1.

    Example: clickmap data gt-mean name=clickmaps root=clickmap_demo/assets/demo --output gt
    """

    def job(terminal: Terminal) -> Made:
        from clickmap_cli.services.data import tools as data_tools

        return data_tools.mean_maps(_settings(which), output, aggregate, terminal, overwrite)

    _run(job, json, quiet, verbose)


@app.command("export-pysaliency", epilog=o.chapter("Models"))
def export_pysaliency(
    which: d.Which,
    output: d.Where = Path("pysaliency"),
    overwrite: d.Replace = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Write stimuli and fixations as pysaliency's HDF5 files.

    Example: clickmap data export-pysaliency name=folder root=toy --output exported
    """

    def job(_: Terminal) -> Made:
        from clickmap_cli.services.data import tools as data_tools

        return data_tools.export_pysaliency(_settings(which), output, overwrite)

    _run(job, json, quiet, verbose)


@app.command("import-scores", epilog=o.chapter("Networks"))
def import_scores(
    file: d.Backup,
    output: d.Where = Path("imported"),
    label: d.Label = "imported",
    models: d.ScoreNames = "raw,smoothed",
    images: d.ImagesFolder = None,
    maps: d.MapsFolder = None,
    overwrite: d.Replace = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Report on the scores an earlier study left in a pickled .npy, without trusting the pickle.

    Example: clickmap data import-scores backup.npy --output results/published
    """

    def body(terminal: Terminal) -> int:
        from clickmap_cli.reports import benchmark as report
        from clickmap_cli.reports.benchmark_html import write_report
        from clickmap_cli.services.data import import_scores as service
        from clickmap_cli.storage.folder import WhenPresent

        names = tuple(word.strip() for word in models.split(",") if word.strip())
        found = service.run(
            file, output, label=label, models=names, draw_report=write_report,
            pictures=service.FolderPictures(images, maps), progress=terminal,
            when=WhenPresent.OVERWRITE if overwrite else WhenPresent.STOP,
        )  # fmt: skip
        line = f"{found.folder / 'report.html'}: open it; tables beside it."
        tables = report.score_tables(found.summary)
        return show_outcome(
            terminal, found, [line], tables=tables, json=report.as_json(found) if json else None
        )

    run_session(body, quiet=quiet, verbose=verbose, resume_hint="Run it again.")


@app.command("crop-heatmaps", epilog=o.chapter("Classes of maps"))
def crop_heatmaps(
    source: d.Recordings,
    output: d.Where = Path("maps"),
    box: d.Box = None,
    size: d.Size = None,
    colour: d.Colour = False,
    pattern: d.Pattern = None,
    sentences: d.Sentences = None,
    kind: d.Kind = None,
    n_jobs: o.NJobs = None,
    overwrite: d.Replace = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Cut screen recordings to attention maps, <class>/<participant>/<name>.png.

    The recordings are also in <class>/<participant>/, or --pattern reads both from their names, or
    they have the raw layout of the reading study (heatmap_fixed/, scanpaths_fixed/), whose names
    and boxes are known. --sentences cuts several boxes from each recording.

    Example: clickmap data crop-heatmaps raw --kind heatmaps --size 100,750 --output maps
    """

    def job(terminal: Terminal) -> Made:
        from clickmap_cli.datasets.recordings import CropSettings
        from clickmap_cli.runtime.errors import ConfigError
        from clickmap_cli.services.data import tools as data_tools

        if n_jobs == 0:
            raise ConfigError("--n-jobs is 0; use 1 for no parallel work or -1 for every core.")
        parts = None if box is None else _numbers("--box", box, 4)
        sides = None if size is None else _numbers("--size", size, 2)
        settings = CropSettings(
            None if parts is None else (parts[0], parts[1], parts[2], parts[3]),
            None if sides is None else (sides[0], sides[1]), colour, pattern, sentences, kind,
        )  # fmt: skip
        jobs = -1 if n_jobs is None else n_jobs
        return data_tools.crop_heatmaps(source, output, settings, terminal, jobs, overwrite)

    _run(job, json, quiet, verbose)


@app.command("reading-study", epilog=o.chapter("Classes of maps"))
def reading_study(
    output: d.Where = Path("reading_study"),
    seed: o.Seed = None,
    overwrite: d.Replace = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Draw a simulated reading study: maps of two classes with a known difference.

    Example: clickmap data reading-study && clickmap train-classifier -c configs/heatmap_cnn.yaml
    """

    def job(terminal: Terminal) -> Made:
        from clickmap_cli.services.data import tools as data_tools

        return data_tools.reading_study(output, seed or 0, terminal, overwrite)

    _run(job, json, quiet, verbose)


def _run(job: Callable[[Terminal], Made], json: bool, quiet: bool, verbose: bool) -> None:
    """Run the job, print what it made, and exit with 1 if it reports problems."""

    def body(terminal: Terminal) -> int:
        from clickmap_cli.reports.console import print_json
        from clickmap_cli.reports.data import as_json, lines

        made = job(terminal)
        for text in made.problems:
            terminal.warn(text)
        for line in lines(made):
            terminal.show(line)
        if json:
            print_json(as_json(made))
        return 1 if made.problems else 0

    run_session(body, quiet=quiet, verbose=verbose, resume_hint="Run it again.")


def _settings(words: list[str]) -> dict[str, Any]:
    from clickmap_cli.config.reading import settings_from_words

    return settings_from_words(words)


def _numbers(option: str, text: str, n: int) -> list[int]:
    """Return whole numbers that are separated by commas or `x`.

    Raises:
        ConfigError: the text is not `n` whole numbers.
    """
    from clickmap_cli.runtime.errors import ConfigError

    words = text.replace("x", ",").split(",")
    if len(words) != n or not all(word.strip().isdecimal() for word in words):
        raise ConfigError(f"{option} is {text!r}; it must be {n} whole numbers with commas.")
    return [int(word) for word in words]
