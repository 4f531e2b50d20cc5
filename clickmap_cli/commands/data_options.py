"""Options that only `clickmap data` has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clickmap_cli.commands import completion
from clickmap_cli.commands import options as o

Which = Annotated[
    list[str],
    typer.Argument(
        metavar="name=NAME|KEY=VALUE",
        help="The data set and its settings.",
        autocompletion=completion.data_set_words,
    ),
]
Replace = Annotated[
    bool, typer.Option("--overwrite", help="Replace what is there.", rich_help_panel=o.RUN)
]
Where = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Folder that it is written into.",
        rich_help_panel=o.INPUT,
        callback=o.output_folder,
    ),
]

Images = Annotated[
    int, typer.Option("--images", min=2, help="How many images.", rich_help_panel=o.JOB)
]
Trials = Annotated[
    int, typer.Option("--trials", min=1, help="How many trials.", rich_help_panel=o.JOB)
]
SimulatedImages = Annotated[
    int | None,
    typer.Option(
        "--images",
        min=1,
        help="How many images; else one for every 100 trials.",
        rich_help_panel=o.JOB,
    ),
]
Users = Annotated[
    int | None,
    typer.Option(
        "--users",
        min=1,
        help="How many people; else one for every 18 trials.",
        rich_help_panel=o.JOB,
    ),
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="csv, csv.gz, parquet or npz (at most 500,000 trials).",
        rich_help_panel=o.JOB,
        autocompletion=completion.among("csv", "csv.gz", "parquet", "npz"),
    ),
]
Pictures = Annotated[
    bool,
    typer.Option(
        "--pictures", help="Also write the images; nothing needs them.", rich_help_panel=o.JOB
    ),
]
TestCount = Annotated[
    int, typer.Option("--test-count", min=1, help="Images held out.", rich_help_panel=o.JOB)
]
ListsFolder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder that the lists are written into; else its root.",
        rich_help_panel=o.INPUT,
        callback=o.output_folder,
    ),
]
Aggregate = Annotated[
    str,
    typer.Option(
        "--aggregate",
        help="mean or median.",
        rich_help_panel=o.JOB,
        autocompletion=completion.among("mean", "median"),
    ),
]
Backup = Annotated[Path, typer.Argument(help="The .npy backup of a study's scores.")]
Label = Annotated[
    str, typer.Option("--label", help="What the data set is called.", rich_help_panel=o.JOB)
]
ScoreNames = Annotated[
    str,
    typer.Option(
        "--models", help="A name for each set of scores, with commas.", rich_help_panel=o.JOB
    ),
]
ImagesFolder = Annotated[
    Path | None,
    typer.Option("--images", help="Folder of the images, for the report.", rich_help_panel=o.INPUT),
]
MapsFolder = Annotated[
    Path | None,
    typer.Option("--maps", help="Folder of the ground-truth maps.", rich_help_panel=o.INPUT),
]
Recordings = Annotated[Path, typer.Argument(help="Folder of the recordings.")]
Box = Annotated[
    str | None,
    typer.Option(
        "--box",
        metavar="L,T,R,B",
        help="Part of every picture that is kept; else all, or the raw layout's own.",
        rich_help_panel=o.JOB,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size", metavar="H,W", help="Size of the maps; else the box's.", rich_help_panel=o.JOB
    ),
]
Colour = Annotated[
    bool, typer.Option("--colour", help="Keep colours; else grey.", rich_help_panel=o.JOB)
]
Pattern = Annotated[
    str | None,
    typer.Option(
        "--pattern",
        help="Regular expression of a whole file name without its ending, with any of the groups "
        "participant, class, name and part: '(?P<participant>p[0-9]+)_(?P<class>[CP])_.*'.",
        rich_help_panel=o.JOB,
    ),
]
Sentences = Annotated[
    Path | None,
    typer.Option(
        "--sentences",
        help="CSV of boxes, in place of --box: page or image, sentence, left, top, right, bottom.",
        rich_help_panel=o.INPUT,
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--kind",
        help="In the raw layout: heatmaps (heatmap_fixed/) or scanpaths (scanpaths_fixed/).",
        rich_help_panel=o.JOB,
        autocompletion=completion.among("heatmaps", "scanpaths"),
    ),
]
