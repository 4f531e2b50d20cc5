"""The page in a browser: people stand apart, lists never overlap, what means nothing says so."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clickmap_cli.scoring.results import (
    BenchmarkResult,
    ImageScore,
    ModelResult,
    PeopleScore,
)
from clickmap_cli.scoring.summaries import compare_models, summarise
from tests.helpers.benchmark_results import write
from tests.helpers.browser import CHROMIUM, Page, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

METRICS = ("sAUC", "CC", "KL")
N_IMAGES = 7
SHOWN = 5
LEVELS = {"flat": 0.1, "everyone": 0.9, "net": 0.5}
"""CC of each; people are the best, and stand in the middle of the config."""


def cc_of(model: str, at: int) -> float:
    return round(LEVELS[model] + (0.02 * at if model == "net" else 0.0), 3)


def result() -> BenchmarkResult:
    """No sAUC anywhere; by KL the ceiling is not better than the null."""
    nan = math.nan
    people = [
        PeopleScore(
            f"i{at}", 4, {"sAUC": nan, "CC": 0.8, "KL": 2.5}, {"sAUC": nan, "CC": 0.2, "KL": 2.0}
        )
        for at in range(N_IMAGES)
    ]
    models = []
    for model, level in LEVELS.items():
        images = []
        for at in range(N_IMAGES):
            scores = {"sAUC": nan, "CC": cc_of(model, at), "KL": 1 - level}
            images.append(ImageScore(f"i{at}", "all", scores, scores))
        summary = summarise("toy", METRICS, images, people, 0)
        models.append(ModelResult("toy", model, tuple(images), summary, 0, model == "everyone"))
    return BenchmarkResult(
        "study", Path("nowhere"), METRICS, tuple(models), {"toy": tuple(people)},
        compare_models(models, METRICS, 0), (),
    )  # fmt: skip


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as opened:
        yield opened


@pytest.fixture
def report(page: Page, tmp_path: Path) -> Iterator[Page]:
    write(tmp_path / "report.html", result(), SHOWN)
    page.complaints.clear()
    page.open(tmp_path / "report.html")
    yield page
    assert page.complaints == []


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.run(
        f"[...document.querySelectorAll({selector!r})].map((node) => node.textContent)"
    )
    return found


def chosen(page: Page, select: str) -> str:
    text: str = page.run(f"document.querySelector('{select}').selectedOptions[0].text")
    return text


def board(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.run(
        """[...document.querySelectorAll("#board-table tbody tr")].map((row) => ({
            name: row.cells[1].firstChild.textContent, people: row.classList.contains("people"),
            best: [...row.cells].some((cell) => cell.classList.contains("best")) }))"""
    )
    return found


def test_people_are_not_best_model_and_stand_below_the_models(report: Page) -> None:
    expected = [("net", False, True), ("flat", False, False), ("everyone", True, False)]
    for _ in range(3):  # as it opens, best first, worst first
        rows = [(row["name"], row["people"], row["best"]) for row in board(report)]
        assert rows[-1] == expected[-1]
        assert sorted(rows) == sorted(expected)
        report.click("#board-table th:nth-child(5) button")
    assert chosen(report, "#pick-model") == "net"
    assert texts(report, "#pick-model option") == ["flat", "people: everyone", "net"]
    assert "2 models · people · 3 metrics" in texts(report, "#facts")[0]
    report.click("#every-table tbody button")
    marked = report.run(
        """[...document.querySelectorAll('#viewer-scores td.best')].map((cell) =>
            cell.parentNode.cells[0].textContent)"""
    )
    assert set(marked) == {"net"}
    report.press("Escape")
    assert report.run("document.querySelector('#people-compared').checkVisibility()")


def test_the_page_opens_on_a_metric_that_has_values(report: Page) -> None:
    assert chosen(report, "#pick-metric") == "CC ↑"
    assert texts(report, "#best-title") == ["Best 4 images by CC ↑"]
    report.choose("#pick-metric", "sAUC ↑")
    assert "Best 0" not in report.run("document.body.innerText")
    assert texts(report, "#no-images") == ["No image of toy has a score by sAUC."]
    assert not report.run("document.querySelector('#worst').checkVisibility()")
    assert texts(report, "#decile-chart svg") == []


def test_no_image_is_in_both_lists(report: Page) -> None:
    assert texts(report, "#best .name") == [f"{k + 1}i{6 - k}" for k in range(4)]
    assert texts(report, "#worst .name") == [f"{k + 1}i{k}" for k in range(3)]
    assert texts(report, "#worst-title") == ["Worst 3 images by CC ↑"]
    # equal scores throughout
    report.choose("#pick-model", "flat")
    names = [text[1:] for text in texts(report, "#best .name") + texts(report, "#worst .name")]
    assert sorted(names) == [f"i{at}" for at in range(N_IMAGES)]
    assert "not in this page" not in texts(report, "#images")[0]


def test_deciles_say_which_end_is_the_best(report: Page) -> None:
    for metric, said in (("CC ↑", "CC (higher is better)"), ("KL ↓", "KL (lower is better)")):
        report.choose("#pick-metric", metric)
        axis = "decile of images: 1 is the worst, 7 the best"
        assert axis in texts(report, "#decile-chart svg text")
        assert texts(report, "#decile-chart figcaption")[0].startswith(said)
    report.choose("#pick-metric", "CC ↑")
    means = [float(text) for text in texts(report, "#decile-table td:last-child")]
    assert means == sorted(means)


def test_where_nothing_lies_between_null_and_ceiling_the_page_says_so(report: Page) -> None:
    norms = texts(report, "#board-table tbody tr:first-child td small")
    assert any(text.startswith("norm. 0.6") for text in norms)
    assert [text.strip() for text in norms if "n.m." in text] == ["norm. n.m."]
    legend = texts(report, "#board-legend")[0]
    assert "n.m.: not meaningful" in legend
    assert "0 is what another image's people reach" in legend
    report.choose("#pick-metric", "KL ↓")
    assert any("norm. n.m." in text for text in texts(report, ".chart svg text"))
    definitions = report.run("document.querySelector('#definitions').textContent")
    assert "centre bias)" not in definitions
    assert "1,000 resamples" in definitions
    assert "10,000 permutations" in report.run("document.querySelector('#comparisons').textContent")
