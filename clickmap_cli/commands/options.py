"""Options that every command shares, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_INPUT = "Input and output"
_RUN = "How it runs"
_SHOW = "What it says"

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Values that win over the file.", show_default=False
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML file of the experiment.", rich_help_panel=_INPUT),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="Where results go, in place of `assets` or `output_dir`.",
        rich_help_panel=_INPUT,
    ),
]
NJobs = Annotated[
    int | None,
    typer.Option("--n-jobs", "-j", help="Workers; -1 = every core.", rich_help_panel=_RUN),
]
Backend = Annotated[
    str | None,
    typer.Option("--backend", help="loky, threading or dask.", rich_help_panel=_RUN),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="Address of a Dask scheduler, such as tcp://192.168.0.7:8786.",
        rich_help_panel=_RUN,
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="auto, cpu, cuda or mps.", rich_help_panel=_RUN),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Seed of every random draw.", rich_help_panel=_RUN),
]
WhenPresentFlag = Annotated[
    bool | None,
    typer.Option(
        "--resume/--overwrite",
        help="Finish what an earlier run began, or make it anew.",
        rich_help_panel=_RUN,
        show_default=False,
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Exit 1 when any row was rejected.", rich_help_panel=_RUN),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check, read and filter; write nothing.", rich_help_panel=_RUN),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as one JSON value.", rich_help_panel=_SHOW),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Say only what went wrong.", rich_help_panel=_SHOW),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", help="Show a traceback on errors.", rich_help_panel=_SHOW),
]
