"""The `clickmap` application: its commands, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

import clickmap_cli
from clickmap_cli.commands import config, data
from clickmap_cli.commands.benchmark import benchmark
from clickmap_cli.commands.ceiling import ceiling
from clickmap_cli.commands.demo import demo
from clickmap_cli.commands.doctor import doctor
from clickmap_cli.commands.finetune import finetune
from clickmap_cli.commands.options import Command, chapter
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


def _add(name: str, body: Callable[..., None], panel: str, *chapters: str) -> None:
    """A command, its headline in the help, and where the README says more."""
    app.command(name, cls=Command, epilog=chapter(*chapters), rich_help_panel=panel)(body)


_add("prepare", prepare, _PEOPLE, "The maps")
_add("ceiling", ceiling, _PEOPLE, "The ceiling")
_add("visualize", visualize, _PEOPLE, "Looking at it")
_add("benchmark", benchmark, _MODELS, "Models", "Networks")
_add("finetune", finetune, _MODELS, "Fine-tuning", "Key points")
_add("train-classifier", train_classifier, _MODELS, "Classes of maps", "Participants")
_add("demo", demo, _AROUND, "Two commands")
app.add_typer(config.app, name="config", rich_help_panel=_AROUND)
app.add_typer(data.app, name="data", rich_help_panel=_AROUND)
_add("doctor", doctor, _AROUND, "Checking")
_add("verify", verify, _AROUND, "Checking")
