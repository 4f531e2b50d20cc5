"""Options that commands share, declared once, and the pointers from help texts to the README."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from clickmap_cli.commands import completion
from clickmap_cli.runtime.devices import DEVICES

INPUT = "Input and output"
JOB = "What it does"
RUN = "How it runs"
SHOW = "What it says"
"""Headlines of the help; every option is listed under one of them."""


def chapter(*names: str) -> str:
    """Return the last line of a command's help, which names chapters of the README."""
    quoted = " and ".join(f"'{name}'" for name in names)
    return f"In the README: {quoted}."


Place = TypeVar("Place", str, Path, None)


def output_folder(context: typer.Context, value: Place) -> Place:
    """Return the value of `--output` after checking that it can name a folder.

    Raises:
        Exit: the value is a file, or looks like the name of one; an error is printed first.
    """
    from clickmap_cli.config.validation import folder_fault
    from clickmap_cli.reports.console import Terminal
    from clickmap_cli.runtime.errors import ConfigError

    fault = None if value is None or context.resilient_parsing else folder_fault(str(value))
    if fault is not None:
        Terminal(quiet=False, verbose=False).error(f"--output: {fault}")
        raise typer.Exit(ConfigError.exit_code)
    return value


def _config(of: str, command: str = "") -> typer.models.OptionInfo:
    """Return the option `--config`; without a command, completion offers every YAML file."""
    found: typer.models.OptionInfo = typer.Option(
        "--config",
        "-c",
        help=f"YAML file of {of}; `clickmap config list` names those that come along.",
        rich_help_panel=INPUT,
        autocompletion=(
            completion.configurations_of(command) if command else completion.configuration_files
        ),
    )
    return found


def _dry_run(does: str) -> typer.models.OptionInfo:
    """Return the option `--dry-run` of a command; `does` names the steps that still run."""
    found: typer.models.OptionInfo = typer.Option(
        "--dry-run", help=f"{does}; write nothing.", rich_help_panel=RUN
    )
    return found


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Values that win over the file.",
        show_default=False,
        autocompletion=completion.overrides,
    ),
]
AnyFile = Annotated[Path | None, _config("any command")]
ExperimentFile = Annotated[Path | None, _config("an experiment", "prepare")]
BenchmarkFile = Annotated[Path | None, _config("a benchmark", "benchmark")]
FinetuneFile = Annotated[
    Path | None, _config("a fine-tuning, of maps or of key points", "finetune")
]
ClassifierFile = Annotated[
    Path | None, _config("a classifier, of maps or of participants", "train-classifier")
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder that results are written into, in place of the config's.",
        rich_help_panel=INPUT,
        callback=output_folder,
    ),
]
NJobs = Annotated[
    int | None,
    typer.Option("--n-jobs", "-j", help="Workers; -1 = every core.", rich_help_panel=RUN),
]
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        help="loky, threading or dask.",
        rich_help_panel=RUN,
        autocompletion=completion.among("loky", "threading", "dask"),
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="Address of a Dask scheduler, such as tcp://192.168.0.7:8786.",
        rich_help_panel=RUN,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="auto, cpu, cuda or mps.",
        rich_help_panel=RUN,
        autocompletion=completion.among(*DEVICES),
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Seed of every random draw.", rich_help_panel=RUN),
]
WhenPresentFlag = Annotated[
    bool | None,
    typer.Option(
        "--resume/--overwrite",
        help="Finish what an earlier run began, or make it anew.",
        rich_help_panel=RUN,
        show_default=False,
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Exit 1 when any row was rejected.", rich_help_panel=RUN),
]
DryPrepare = Annotated[bool, _dry_run("Read and filter the trials, make no maps")]
DryCeiling = Annotated[bool, _dry_run("Read and filter the trials, score nothing")]
DryPictures = Annotated[bool, _dry_run("Choose the images, draw none")]
DryBenchmark = Annotated[bool, _dry_run("Read data sets and models, predict nothing")]
DryFinetune = Annotated[bool, _dry_run("Read the data, build the network, train nothing")]
DryClassifier = Annotated[bool, _dry_run("Read the data, divide the participants, train nothing")]
DryUpdate = Annotated[bool, _dry_run("Say which keys are missing")]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as one JSON value.", rich_help_panel=SHOW),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Say only what went wrong.", rich_help_panel=SHOW),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", help="Show a traceback on errors.", rich_help_panel=SHOW),
]
