"""The `clickmap` application: its commands, and nothing else."""

from __future__ import annotations

from typing import Annotated

import typer

import clickmap_cli
from clickmap_cli.commands import config, data
from clickmap_cli.commands.benchmark import benchmark
from clickmap_cli.commands.ceiling import ceiling
from clickmap_cli.commands.demo import demo
from clickmap_cli.commands.doctor import doctor
from clickmap_cli.commands.finetune import finetune
from clickmap_cli.commands.options import chapter
from clickmap_cli.commands.prepare import prepare
from clickmap_cli.commands.train_classifier import train_classifier
from clickmap_cli.commands.verify import verify
from clickmap_cli.commands.visualize import visualize

_PEOPLE = "People: clicks, maps, ceilings"
_MODELS = "Models: scores, training, classifiers"
_AROUND = "To begin with, and to check"

app = typer.Typer(
    name="clickmap",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clickmap {clickmap_cli.__version__}")
        raise typer.Exit


@app.callback(epilog=chapter("Two commands", "From your own trials to a figure"))
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """From people's clicks to heatmaps, human ceilings and model scores.

    Example: clickmap demo
    """


app.command(epilog=chapter("The maps"), rich_help_panel=_PEOPLE)(prepare)
app.command(epilog=chapter("The ceiling"), rich_help_panel=_PEOPLE)(ceiling)
app.command(epilog=chapter("Looking at it"), rich_help_panel=_PEOPLE)(visualize)
app.command(epilog=chapter("Models", "Networks"), rich_help_panel=_MODELS)(benchmark)
app.command(epilog=chapter("Fine-tuning", "Key points"), rich_help_panel=_MODELS)(finetune)
app.command(
    "train-classifier", epilog=chapter("Classes of maps", "Participants"), rich_help_panel=_MODELS
)(train_classifier)
app.command(epilog=chapter("Two commands"), rich_help_panel=_AROUND)(demo)
app.add_typer(config.app, name="config", rich_help_panel=_AROUND)
app.add_typer(data.app, name="data", rich_help_panel=_AROUND)
app.command(epilog=chapter("Checking"), rich_help_panel=_AROUND)(doctor)
app.command(epilog=chapter("Checking"), rich_help_panel=_AROUND)(verify)
