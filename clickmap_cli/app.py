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
from clickmap_cli.commands.prepare import prepare
from clickmap_cli.commands.train_classifier import train_classifier
from clickmap_cli.commands.verify import verify
from clickmap_cli.commands.visualize import visualize

app = typer.Typer(
    name="clickmap",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From people's clicks to heatmaps, human ceilings and model scores.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clickmap {clickmap_cli.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """From people's clicks to heatmaps, human ceilings and model scores."""


app.command()(prepare)
app.command()(ceiling)
app.command()(visualize)
app.command()(benchmark)
app.command()(finetune)
app.command("train-classifier")(train_classifier)
app.command()(verify)
app.command()(doctor)
app.command()(demo)
app.add_typer(data.app, name="data")
app.add_typer(config.app, name="config")
