"""Every command's help: grouped options, an example that is right, a chapter that exists."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from clickmap_cli.app import app
from clickmap_cli.config.fields import keys_of
from clickmap_cli.config.loading import BENCHMARK, EXPERIMENT, schema_of
from clickmap_cli.config.shipped import shipped_files

ROOT = Path(__file__).parents[2]
CHAPTERS = set(re.findall(r"^(?:### \d+\. (.+)|## (.+))", (ROOT / "README.md").read_text(), re.M))
MADE = ("clickmap_demo/", "toy/", "reading_study/", "big/")
"""What `clickmap demo` and `clickmap data` make, and the examples go on with."""


def walk(command, *names):
    """Every command and group, with the words that call it."""
    yield names, command
    for name, each in getattr(command, "commands", {}).items():
        yield from walk(each, *names, name)


EVERYTHING = dict(walk(typer.main.get_command(app)))
COMMANDS = {n: c for n, c in EVERYTHING.items() if not hasattr(c, "commands")}


def called(command) -> str:
    return "clickmap " + " ".join(command)


def example_of(names) -> str:
    found = re.findall(r"^Example: (.+)$", inspect.cleandoc(EVERYTHING[names].help), re.M)
    assert len(found) == 1, called(names)
    return found[0]


@pytest.mark.parametrize("names", EVERYTHING, ids=called)
def test_help_shows_an_example_and_where_the_readme_says_more(names) -> None:
    shown = CliRunner().invoke(app, [*names, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    text = " ".join(shown.stdout.split())
    assert f"Example: {' '.join(example_of(names).split())}" in text
    chapters = re.findall(r"'([^']+)'", EVERYTHING[names].epilog)
    assert chapters
    for chapter in chapters:
        assert chapter in {title for pair in CHAPTERS for title in pair}
    assert EVERYTHING[names].epilog in text


@pytest.mark.parametrize("names", COMMANDS, ids=called)
def test_every_option_stands_under_a_headline_and_says_what_it_is(names) -> None:
    for parameter in COMMANDS[names].params:
        assert parameter.help, parameter.name
        assert parameter.help.endswith("."), parameter.name
        if parameter.param_type_name == "option":
            assert parameter.rich_help_panel, f"{called(names)} --{parameter.name}"


@pytest.mark.parametrize(
    ("names", "config", "dry_run"),
    [
        (("prepare",), "of an experiment;", "Read and filter the trials, make no maps;"),
        (("ceiling",), "of an experiment;", "Read and filter the trials, score nothing;"),
        (("visualize",), "of an experiment;", "Choose the images, draw none;"),
        (("benchmark",), "of a benchmark;", "Read data sets and models, predict nothing;"),
        (("finetune",), "of a fine-tuning, of maps or of key points;", "build the network,"),
        (("train-classifier",), "of a classifier,", "divide the participants,"),
        (("doctor",), "of any command;", None),
        (("config", "show"), "of any command;", None),
        (("config", "update"), None, "Say which keys are missing;"),
    ],
    ids=str,
)
def test_shared_options_say_what_they_are_in_their_command(names, config, dry_run) -> None:
    helps = {parameter.name: parameter.help for parameter in COMMANDS[names].params}
    for option, words in (("config", config), ("dry_run", dry_run)):
        assert (option in helps) == (words is not None)
        assert words is None or words in helps[option]


def test_every_command_with_a_config_or_a_dry_run_is_among_those_above() -> None:
    (mark,) = test_shared_options_say_what_they_are_in_their_command.pytestmark
    named = {names for names, *_ in mark.args[1]}
    shared = {"config", "dry_run"}
    assert named == {n for n, c in COMMANDS.items() if shared & {p.name for p in c.params}}


def test_every_command_stands_under_a_headline() -> None:
    shown = CliRunner().invoke(app, [])
    assert "Example: clickmap demo" in shown.stdout
    for name, command in EVERYTHING[()].commands.items():
        assert command.rich_help_panel, name
        assert command.rich_help_panel in shown.stdout


@pytest.mark.parametrize("names", EVERYTHING, ids=called)
def test_the_example_is_understood(names) -> None:
    """Commands and options exist, keys are known, configurations are shipped or made before."""
    lines = [shlex.split(line) for line in example_of(names).split("&&")]
    spelled = [tuple(word for word in line[1:] if not word.startswith("-")) for line in lines]
    assert any(words[: len(names)] == names for words in spelled)
    for line in lines:
        assert line[0] == "clickmap"
        command, called_by, rest = EVERYTHING[()], "", line[1:]
        while hasattr(command, "commands"):
            called_by = rest.pop(0)
            command = command.commands[called_by]
        given = command.make_context(called_by, rest).params
        config = given.get("config")
        if config is not None:
            check_config(config)
        schema = BENCHMARK if called_by == "benchmark" else EXPERIMENT
        if config is not None and config.parts[0] == "configs":
            schema = schema_of(ROOT / config)
        for word in given.get("overrides") or given.get("words") or ():
            name, equals, _ = word.partition("=")
            assert not equals or name.partition(".")[0] in keys_of(schema.type), word


def check_config(path: Path) -> None:
    shipped = {f"configs/{file.path.name}" for file in shipped_files()}
    assert path.as_posix() in shipped or path.as_posix().startswith(MADE), path


def test_short_help() -> None:
    assert CliRunner().invoke(app, ["ceiling", "-h"]).exit_code == 0
