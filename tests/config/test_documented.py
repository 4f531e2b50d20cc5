"""Every key is described to people and used by the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clickmap_cli.config.experiment import ALIASES, NO_LONGER_NEEDED, ExperimentConfig
from clickmap_cli.config.fields import keys_of
from clickmap_cli.metrics.map_scores import MAP_SCORES
from clickmap_cli.reports.config import keys_markdown

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CODE = "\n".join(
    path.read_text()
    for path in (ROOT / "clickmap_cli").rglob("*.py")
    if "config" not in path.relative_to(ROOT / "clickmap_cli").parts[:1]
)


def test_the_readmes_table_of_keys_is_the_schemas() -> None:
    assert keys_markdown() in README


@pytest.mark.parametrize("name", keys_of(ExperimentConfig))
def test_every_key_is_read_somewhere(name) -> None:
    assert re.search(rf"config\.{name}\b|[\"']{name}[\"']", CODE), name


def test_old_names_are_not_read() -> None:
    for name in (*ALIASES, *NO_LONGER_NEEDED):
        assert f"config.{name}" not in CODE


@pytest.mark.parametrize("name", [*MAP_SCORES, "rsa"])
def test_every_metric_is_in_the_readme(name) -> None:
    assert f"`{name}`" in README


def test_pictures_of_the_readme_are_there() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert len(pictures) >= 3
    for picture in pictures:
        assert (ROOT / picture).is_file()
