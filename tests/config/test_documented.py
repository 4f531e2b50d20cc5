"""Every key is described to people and used by the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clickmap_cli.config.benchmark import BenchmarkConfig, DeepDive, HeatmapPictures
from clickmap_cli.config.classifier import (
    ClassifierTraining,
    HeatmapConfig,
    HeatmapData,
    HeatmapModel,
    Interpretation,
    NestedCv,
)
from clickmap_cli.config.experiment import ALIASES, NO_LONGER_NEEDED, ExperimentConfig
from clickmap_cli.config.fields import keys_of
from clickmap_cli.config.finetune import (
    CvSettings,
    FinetuneConfig,
    FreezeSettings,
    TrainingSettings,
    WandbSettings,
)
from clickmap_cli.config.keypoints import AugmentSettings, KeypointConfig
from clickmap_cli.config.loading import load_any
from clickmap_cli.config.participant_quality import (
    QualityConfig,
    QualityData,
    QualityNetwork,
    QualityTraining,
)
from clickmap_cli.datasets.base import DATASETS
from clickmap_cli.metrics.map_scores import MAP_SCORES
from clickmap_cli.metrics.saliency import SALIENCY_SCORES
from clickmap_cli.models.base import MODELS
from clickmap_cli.reports.config import keys_markdown

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CODE = "\n".join(
    path.read_text()
    for path in (ROOT / "clickmap_cli").rglob("*.py")
    if "config" not in path.relative_to(ROOT / "clickmap_cli").parts[:1]
    or path.name in ("finetune.py", "finetune_checks.py")  # makes stages of its keys itself
)


SCHEMAS = (
    ExperimentConfig, BenchmarkConfig, HeatmapPictures, DeepDive, FinetuneConfig, FreezeSettings,
    TrainingSettings, CvSettings, WandbSettings, KeypointConfig, AugmentSettings,
    QualityConfig, QualityData, QualityNetwork, QualityTraining, HeatmapConfig, HeatmapData,
    HeatmapModel, ClassifierTraining, NestedCv, Interpretation,
)  # fmt: skip


OWNERS = (
    "(config|settings|heatmaps_png|deep_dive|freeze|training|cv|wandb|augment|stage|data|how"
    "|network|model|self|spec|of_model)"
)
"""What a key is read from."""


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_readmes_table_of_keys_is_the_schemas(schema) -> None:
    assert keys_markdown(schema) in README


@pytest.mark.parametrize("name", sorted({name for schema in SCHEMAS for name in keys_of(schema)}))
def test_every_key_is_read_somewhere(name) -> None:
    if name in {"datasets", "models", "active_models", "model_kwargs", "task"}:
        return  # read by the schemas themselves: specs for the services, and which kind a file is
    assert re.search(rf"\b{OWNERS}\.{name}\b|[\"']{name}[\"']", CODE), name


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
