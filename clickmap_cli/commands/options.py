"""Options that commands share, declared once, and the answer to an option that is unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from clickmap_cli.commands import completion
from clickmap_cli.config.experiment import ExperimentConfig
from clickmap_cli.config.fields import keys_of

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
    from clickmap_cli.config.loading import folder_fault
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


def _key(name: str, *short: str) -> typer.models.OptionInfo:
    """Return the option that sets a key of a configuration, with its meaning and its words."""
    limits = keys_of(ExperimentConfig)[name]
    found: typer.models.OptionInfo = typer.Option(
        f"--{name.replace('_', '-')}",
        *short,
        help=limits.help,
        rich_help_panel=RUN,
        autocompletion=completion.among(*limits.choices) if limits.choices else None,
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
NJobs = Annotated[int | None, _key("n_jobs", "-j")]
Backend = Annotated[str | None, _key("backend")]
Scheduler = Annotated[str | None, _key("scheduler")]
Device = Annotated[str | None, _key("device")]
Seed = Annotated[int | None, _key("seed")]
WhenPresentFlag = Annotated[
    bool | None,
    typer.Option(
        "--resume/--overwrite",
        help="Finish what an earlier run began, or replace it.",
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


class Command(TyperCommand):
    """A Typer command that recognises configuration keys and other commands' options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as Typer does, and add a hint to the error about an unknown option."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # the class is in Typer's own copy of Click or in the installed one, so compare its name
            option = getattr(error, "option_name", None)
            if type(error).__name__ == "NoSuchOption" and option:
                hint = _hint(ctx, option)
                if hint:
                    vars(error).update(
                        message=f"No such option: {option}. {hint}", possibilities=[]
                    )
            raise


def _hint(ctx: Any, option: str) -> str:
    """Return a hint at what the unknown option is elsewhere; empty if there is none."""
    from clickmap_cli.config.loading import ALL_SCHEMAS

    commands = getattr(ctx.find_root().command, "commands", {})
    having = [
        name
        for name, command in commands.items()
        if any(option in (*each.opts, *each.secondary_opts) for each in command.params)
    ]
    if having:
        return f"It belongs to clickmap {' and '.join(having)}."
    key = option.lstrip("-").replace("-", "_")
    if any(schema.knows(key) for schema in ALL_SCHEMAS):
        return f"{key} is a key of the configuration: type {key}=..., without dashes."
    return ""
