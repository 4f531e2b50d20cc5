"""`clickmap data toy|simulate|split|gt-mean|export-pysaliency`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clickmap_cli.commands import options as o
from clickmap_cli.commands.session import run_session
from clickmap_cli.reports.console import Terminal

if TYPE_CHECKING:
    from clickmap_cli.services.data_tools import Made

app = typer.Typer(no_args_is_help=True, help="Make, split, average and export data sets.")

Which = Annotated[
    list[str],
    typer.Argument(metavar="name=NAME [KEY=VALUE]...", help="The data set and its settings."),
]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Where = Annotated[Path, typer.Option("--output", "-o", help="Where it goes.")]


@app.command()
def toy(
    output: Where = Path("toy"),
    images: Annotated[int, typer.Option("--images", min=2, help="How many images.")] = 12,
    seed: o.Seed = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Draw a small corpus with a known truth, and a config that scores models on it.

    Example: clickmap data toy --output toy && clickmap benchmark --config toy/benchmark.yaml
    """

    def job(terminal: Terminal) -> Made:
        from clickmap_cli.services import data_tools

        return data_tools.toy(output, images, seed or 0, terminal)

    _run(job, json, quiet, verbose)


@app.command()
def simulate(
    trials: Annotated[int, typer.Option("--trials", min=1, help="How many trials.")] = 100_000,
    images: Annotated[
        int | None,
        typer.Option("--images", min=1, help="How many images; else one for every 100 trials."),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option("--users", min=1, help="How many people; else one for every 18 trials."),
    ] = None,
    output: Where = Path("simulated"),
    kind: Annotated[
        str, typer.Option("--format", help="csv, csv.gz, parquet or npz (at most 500,000 trials).")
    ] = "csv",
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also write the images; nothing needs them.")
    ] = False,
    seed: o.Seed = None,
    overwrite: Replace = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Write trials in any number, with a known truth, and a config that prepares them.

    Example: clickmap data simulate -o big && clickmap prepare -c big/simulate.yaml
    """

    def job(terminal: Terminal) -> Made:
        from clickmap_cli.services.simulate import SimulateJob, run

        wanted = SimulateJob(output, trials, images, users, seed or 0, kind, pictures)
        return run(wanted, terminal, overwrite)

    _run(job, json, quiet, verbose)


@app.command()
def split(
    which: Which,
    test_count: Annotated[int, typer.Option("--test-count", min=1, help="Images held out.")] = 30,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the lists go; else its root.")
    ] = None,
    seed: o.Seed = None,
    overwrite: Replace = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Hold out images: train.txt and test.txt, lists of ids for `ids:` and `split:`.

    Example: clickmap data split name=folder root=photos --test-count 30
    """

    def job(_: Terminal) -> Made:
        from clickmap_cli.services import data_tools

        return data_tools.split(_settings(which), output, test_count, seed or 0, overwrite)

    _run(job, json, quiet, verbose)


@app.command("gt-mean")
def gt_mean(
    which: Which,
    output: Where = Path("gt_mean"),
    aggregate: Annotated[str, typer.Option("--aggregate", help="mean or median.")] = "mean",
    overwrite: Replace = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Average ground-truth maps over participants, each scaled to sum 1.

    Example: clickmap data gt-mean name=clickmaps root=assets/osie_mouse --output gt
    """

    def job(terminal: Terminal) -> Made:
        from clickmap_cli.services import data_tools

        return data_tools.mean_maps(_settings(which), output, aggregate, terminal, overwrite)

    _run(job, json, quiet, verbose)


@app.command("export-pysaliency")
def export_pysaliency(
    which: Which,
    output: Where = Path("pysaliency"),
    overwrite: Replace = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Write stimuli and fixations as pysaliency's HDF5 files.

    Example: clickmap data export-pysaliency name=folder root=photos --output exported
    """

    def job(_: Terminal) -> Made:
        from clickmap_cli.services import data_tools

        return data_tools.export_pysaliency(_settings(which), output, overwrite)

    _run(job, json, quiet, verbose)


@app.command("import-scores")
def import_scores(
    file: Annotated[Path, typer.Argument(help="The .npy backup of a study's scores.")],
    output: Where = Path("imported"),
    label: Annotated[
        str, typer.Option("--label", help="What the data set is called.")
    ] = "imported",
    models: Annotated[
        str, typer.Option("--models", help="A name for each set of scores, with commas.")
    ] = "raw,smoothed",
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of the images, for the report.")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option("--maps", help="Folder of the ground-truth maps.")
    ] = None,
    overwrite: Replace = False,
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
        from clickmap_cli.reports.console import print_json
        from clickmap_cli.services import import_scores as service
        from clickmap_cli.storage.folder import WhenPresent

        names = tuple(word.strip() for word in models.split(",") if word.strip())
        found = service.run(
            file, output, service.Naming(label, names), write_report,
            service.FolderPictures(images, maps),
            WhenPresent.OVERWRITE if overwrite else WhenPresent.STOP,
        )  # fmt: skip
        if found.dropped:
            terminal.notice(f"Metrics that are not known here: {', '.join(found.dropped)}.")
        for table in report.score_tables(found.summary):
            terminal.show(table)
        terminal.show(f"{found.folder / 'report.html'}: open it; tables beside it.")
        if json:
            print_json(found.summary)
        return 0

    run_session(body, quiet=quiet, verbose=verbose, resume_hint="Run it again.")


@app.command("crop-heatmaps")
def crop_heatmaps(
    source: Annotated[Path, typer.Argument(help="Folder of the recordings.")],
    output: Where = Path("maps"),
    box: Annotated[
        str | None,
        typer.Option("--box", metavar="L,T,R,B", help="Part of every picture that is kept."),
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="H,W", help="Size of the maps; else the box's.")
    ] = None,
    colour: Annotated[bool, typer.Option("--colour", help="Keep colours; else grey.")] = False,
    pattern: Annotated[
        str | None,
        typer.Option(
            "--pattern",
            help="Regular expression of file names, with groups participant, class, name, part.",
        ),
    ] = None,
    sentences: Annotated[
        Path | None,
        typer.Option("--sentences", help="CSV of boxes: page or image, sentence, left, ..."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="In the raw layout: heatmaps or scanpaths.")
    ] = None,
    n_jobs: o.NJobs = None,
    overwrite: Replace = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Cut screen recordings to attention maps, <class>/<participant>/<name>.png.

    Example: clickmap data crop-heatmaps raw --kind heatmaps --size 100,750 --output maps
    """

    def job(terminal: Terminal) -> Made:
        from clickmap_cli.datasets.recordings import CropSettings
        from clickmap_cli.runtime.errors import ConfigError
        from clickmap_cli.services import attention_maps

        if n_jobs == 0:
            raise ConfigError("--n-jobs is 0; use 1 for no parallel work or -1 for every core.")
        parts = None if box is None else _numbers("--box", box, 4)
        sides = None if size is None else _numbers("--size", size, 2)
        settings = CropSettings(
            None if parts is None else (parts[0], parts[1], parts[2], parts[3]),
            None if sides is None else (sides[0], sides[1]), colour, pattern, sentences, kind,
        )  # fmt: skip
        jobs = -1 if n_jobs is None else n_jobs
        return attention_maps.crop_heatmaps(source, output, settings, terminal, jobs, overwrite)

    _run(job, json, quiet, verbose)


@app.command("reading-study")
def reading_study(
    output: Where = Path("reading_study"),
    seed: o.Seed = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Draw a simulated reading study: maps of two classes with a known difference.

    Example: clickmap data reading-study && clickmap train-classifier -c configs/heatmap_cnn.yaml
    """

    def job(terminal: Terminal) -> Made:
        from clickmap_cli.services import attention_maps

        return attention_maps.reading_study(output, seed or 0, terminal)

    _run(job, json, quiet, verbose)


def _run(job: Callable[[Terminal], Made], json: bool, quiet: bool, verbose: bool) -> None:
    """Do it, say what was made, and leave with 1 when images were left out."""

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
    from clickmap_cli.config.loading import settings_from_words

    return settings_from_words(words)


def _numbers(option: str, text: str, n: int) -> list[int]:
    """Whole numbers with commas between them.

    Raises:
        ConfigError: they are not that, or not so many.
    """
    from clickmap_cli.runtime.errors import ConfigError

    words = text.replace("x", ",").split(",")
    if len(words) != n or not all(word.strip().isdecimal() for word in words):
        raise ConfigError(f"{option} is {text!r}; it must be {n} whole numbers with commas.")
    return [int(word) for word in words]
