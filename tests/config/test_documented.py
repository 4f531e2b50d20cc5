"""Every key is described to people, used by the program, and set by a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clickmap_cli.config.experiment import ALIASES, NO_LONGER_NEEDED
from clickmap_cli.config.fields import fields_of, keys_of
from clickmap_cli.config.loading import load_any
from clickmap_cli.datasets.base import DATASETS
from clickmap_cli.metrics.map_scores import MAP_SCORES
from clickmap_cli.metrics.saliency import SALIENCY_SCORES
from clickmap_cli.models.base import MODELS
from clickmap_cli.reports.config import schemas, with_tables

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CODE = "\n".join(
    path.read_text()
    for path in (ROOT / "clickmap_cli").rglob("*.py")
    if "config" not in path.relative_to(ROOT / "clickmap_cli").parts[:1]
    or path.name == "saliency.py"  # makes stages of its keys itself
)
SCHEMAS = list(schemas().values())
NAMES = sorted({name for schema in SCHEMAS for name in keys_of(schema)})

OWNERS = (
    "(config|settings|heatmaps_png|deep_dive|freeze|training|cv|wandb|augment|stage|data|how"
    "|_stage|network|model|self|spec|of_model)"
)
"""What a key is read from."""


def test_the_tables_of_keys_are_those_of_the_schemas() -> None:
    assert with_tables(README) == README, "run `make tables`"


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_every_key_is_described_and_typed(schema) -> None:
    assert README.count(f"<!-- keys of {schema.__name__} -->\n| key |") == 1
    for name, each in fields_of(schema).items():
        assert each.key.help.endswith((".", "settings.", "(see below).")), name
        assert "Any" not in str(each.hint) or name == "model_kwargs", name


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_read_somewhere(name) -> None:
    if name in {"datasets", "models", "active_models", "model_kwargs", "task"}:
        return  # read by the schemas themselves: specs for the services, and which kind a file is
    read = re.search(rf"\b{OWNERS}\.{name}\b|[\"']{name}[\"']", CODE)
    assert read or spelled_in_parts(name), name


def spelled_in_parts(name: str) -> bool:
    """Return True if a key is read by a composed name, such as `f"{what}_data_dir"` of "train"."""
    ends = {end for end in re.findall(r"f\"\{\w+\}(_\w+)\"", CODE) if name.endswith(end)}
    return any(f'"{name.removesuffix(end)}"' in CODE for end in ends)


def test_the_walk_finds_every_part() -> None:
    assert {"ExperimentConfig", "DeepDive", "Stage", "WandbSettings", "AugmentSettings"} <= set(
        schemas()
    )
    assert len(SCHEMAS) >= 22


def test_old_names_are_not_read() -> None:
    for name in (*ALIASES, *NO_LONGER_NEEDED):
        assert f"config.{name}" not in CODE


@pytest.mark.parametrize("name", [*MAP_SCORES, "rsa", *SALIENCY_SCORES])
def test_every_metric_is_in_the_readme(name) -> None:
    assert f"`{name}`" in README


@pytest.mark.parametrize("registry", [DATASETS, MODELS])
def test_every_data_set_and_model_is_in_the_readme(registry) -> None:
    for entry in registry.entries():
        if entry.origin == "clickmap":
            assert entry.name in README, entry.name


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_config_that_comes_along_is_right(path) -> None:
    load_any(path)


def test_pictures_of_the_readme_are_there() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert len(pictures) >= 3
    for picture in pictures:
        assert (ROOT / picture).is_file()
