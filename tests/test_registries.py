"""Whatever a configuration can name says where it comes from, and a score which way is better."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import MISSING
from typing import Any

import pytest
from typer.testing import CliRunner

from clickmap_cli.app import app
from clickmap_cli.config.benchmark import SALIENCY_METRICS
from clickmap_cli.config.experiment import METRICS
from clickmap_cli.config.fields import settings_of
from clickmap_cli.config.saliency import LOSSES, OPTIMIZERS, SCHEDULES
from clickmap_cli.datasets.base import DATASETS
from clickmap_cli.metrics.map_scores import MAP_SCORES, rsa
from clickmap_cli.metrics.saliency import SALIENCY_SCORES
from clickmap_cli.models.base import MODELS
from clickmap_cli.training import trackers
from clickmap_cli.training.optimisation import Schedule, make_optimizer
from clickmap_cli.training.tasks import saliency

SCORES = {**MAP_SCORES, **SALIENCY_SCORES}
LOWER = {"crossentropy", "kl", "emd", "KL", "EMD", "MAE", "MSE"}
ENTRIES = [
    pytest.param(entry, id=f"{registry.kind}: {entry.name}")
    for registry in (MODELS, DATASETS)
    for entry in registry.entries()
    if entry.origin == "clickmap"
]


def reference_in(thing: object) -> str:
    found = re.search(r"^Reference: (.+)\Z", inspect.getdoc(thing) or "", re.M | re.S)
    assert found, thing
    return " ".join(found[1].split())


@pytest.mark.parametrize("score", SCORES.values(), ids=lambda score: score.name)
def test_a_score_has_a_source_a_direction_and_a_range_that_agree(score) -> None:
    assert re.search(r"\(\d{4}\)|et al\. \d{4}|the field's", score.reference)
    assert score.higher_is_better is (score.name not in LOWER)
    low, high = score.range
    assert low < high
    if not score.higher_is_better:  # the best value of an error or a distance is none at all
        assert low == 0
    assert inspect.getdoc(score.compare)


def test_configs_name_the_scores_that_there_are() -> None:
    assert set(METRICS) == {*MAP_SCORES, "rsa"}
    assert tuple(SALIENCY_SCORES) == SALIENCY_METRICS
    assert "(2008)" in reference_in(rsa)
    assert all(name == score.name for name, score in SCORES.items())


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_model_or_data_set_has_a_source_a_summary_and_a_target(entry) -> None:
    assert len(entry.reference) >= 10
    assert 10 <= len(entry.summary) <= 80
    assert re.fullmatch(r"clickmap_cli\.(models|datasets)(\.\w+)+:\w+", entry.target)


def test_list_says_where_each_comes_from() -> None:
    listed = CliRunner().invoke(app, ["benchmark", "--list", "--json"]).stdout
    for kind, rows in json.loads(listed).items():
        own = [row for row in rows if row.get("origin", "clickmap") == "clickmap"]
        assert own
        assert all(row["reference"] for row in own), kind
    shown = CliRunner().invoke(app, ["benchmark", "--list"]).stdout
    assert "Muhammad and Yeasin (2020)" in shown
    assert "lower is better" in next(line for line in shown.splitlines() if "MAE" in line)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_a_source(name) -> None:
    assert re.search(r"\(\d{4}\)", reference_in(getattr(saliency, name)))


@pytest.mark.parametrize(("thing", "names"), [(make_optimizer, OPTIMIZERS), (Schedule, SCHEDULES)])
def test_optimisers_and_schedules_have_sources(thing, names) -> None:
    text = reference_in(thing)
    for name in names:
        assert name in text


@pytest.mark.parametrize("name", ["TensorBoardTracker", "WandbTracker"])
def test_a_service_that_is_told_of_a_training_has_a_source(name) -> None:
    assert re.search(r"\(\d{4}\)", reference_in(getattr(trackers, name)))


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_setting_can_be_listed_with_its_default_and_meaning(entry) -> None:
    shown = CliRunner().invoke(app, ["benchmark", "--list", entry.name.upper(), "--json"])
    assert shown.exit_code == 0, shown.output
    (found,) = json.loads(shown.stdout)
    thing = (MODELS if found["kind"] == "model" else DATASETS).get(entry.name)
    settings = {setting["name"]: setting for setting in found["settings"]}
    known = settings_of(thing)
    assert set(known) < set(settings)
    assert all(setting["about"] and setting["type"] for setting in settings.values())
    for name, each in known.items():
        assert each.hint is not Any, name
        assert settings[name]["required"] == (each.default is MISSING)
        if each.default is not MISSING:
            listed = settings[name]["default"]
            assert listed == (list(each.default) if type(each.default) is tuple else each.default)
    lines = CliRunner().invoke(app, ["benchmark", "--list", entry.name]).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(settings)


def test_a_name_that_is_listed_may_be_a_metric_or_unknown() -> None:
    shown = CliRunner().invoke(app, ["benchmark", "--list", "nss", "kl"])
    assert "NSS, a metric: higher is better, against fixations" in shown.stdout
    assert "KL, a metric: lower is better" in shown.stdout
    wrong = CliRunner().invoke(app, ["benchmark", "--list", "deepgaze_ii"])
    assert wrong.exit_code == 2
    assert "There is no data set, model or metric 'deepgaze_ii'. Did you mean" in wrong.stderr
