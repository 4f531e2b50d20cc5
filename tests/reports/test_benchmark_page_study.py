"""The page's closer look, in a browser: images nearest to zero, and the deep dive."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from clickmap_cli.scoring.results import BenchmarkResult, DiveRow, ImageScore, ModelResult
from clickmap_cli.scoring.summaries import summarise
from tests.helpers.benchmark_results import EVIL, EVIL_IMAGE, made_result, write
from tests.helpers.browser import CHROMIUM, Page, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

METRICS = ("AUC", "CC", "NSS")
SHOWN = 4
CC = (0.6, -0.5, 0.02, -0.01, 0.3, math.nan, -0.3, 0.0, 0.9, 0.03, -0.8, -0.03)
"""Some near zero on either side, two equally near, one unknown."""


def image_id(at: int) -> str:
    return EVIL_IMAGE if at == 3 else f"image_{at:02d}"


def result() -> BenchmarkResult:
    models = []
    for dataset in ("toy", EVIL):
        rng = np.random.default_rng(len(dataset))
        images = tuple(
            ImageScore(image_id(at), "all", {"AUC": rng.uniform(0.3, 0.9), "CC": cc, "NSS": 3 * cc})
            for at, cc in enumerate(CC)
        )
        summary = summarise(dataset, METRICS, images, (), 0)
        models.append(ModelResult(dataset, "cam", images, summary, 0))
    dives = (
        DiveRow(
            "toy", "cam", "CC", image_id(3), -0.01, "2-", 0.51,
            {"pool+": -0.01, "pool-": 0.01, "2+": -0.51, "2-": 0.51},
            f"deep_dive/toy/cam/{image_id(3)}.png",
        ),
        DiveRow(
            EVIL, EVIL, "CC", "image_10", -0.8, "pool-", 0.8,
            {"pool+": -0.8, "pool-": 0.8, "0+": math.nan},
        ),
    )  # fmt: skip
    return BenchmarkResult(
        "study", Path("nowhere"), METRICS, tuple(models), {}, (), (), (), (), dives
    )


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as opened:
        yield opened


def opened(page: Page, folder: Path, what: BenchmarkResult) -> Page:
    write(folder / "report.html", what, SHOWN)
    page.complaints.clear()
    page.requests.clear()
    page.open(folder / "report.html")
    return page


@pytest.fixture
def report(page: Page, tmp_path: Path) -> Iterator[Page]:
    """The page, freshly loaded; at the end it has complained of nothing and asked for nothing."""
    yield opened(page, tmp_path, result())
    own = (tmp_path / "report.html").resolve().as_uri()
    assert page.complaints == []
    assert [url for url in page.requests if url != own and not url.startswith("data:image/")] == []


def visible(page: Page, selector: str) -> bool:
    seen: bool = page.run(
        f"(() => {{ const node = document.querySelector({selector!r});"
        " return node.getClientRects().length > 0; })()"
    )
    return seen


def names(page: Page, group: str) -> list[str]:
    found: list[str] = page.run(
        f"[...document.querySelectorAll('#{group} .name')].map((node) => node.title)"
    )
    return found


def dive_rows(page: Page) -> list[list[str]]:
    found: list[list[str]] = page.run(
        "[...document.querySelectorAll('#dive-table tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return found


# --- nearest to zero -------------------------------------------------------------------------


def test_only_metrics_that_may_be_negative_have_images_near_zero(report: Page) -> None:
    for metric, there in (("AUC ↑", False), ("CC ↑", True), ("NSS ↑", True), ("AUC ↑", False)):
        report.choose("#pick-metric", metric)
        assert visible(report, "#zero-group") == there, metric
        assert visible(report, "#zero-title") == there


def test_images_near_zero_are_ordered_by_their_distance(report: Page) -> None:
    report.choose("#pick-metric", "CC ↑")
    known = [at for at, score in enumerate(CC) if not math.isnan(score)]
    order = sorted(known, key=lambda at: (abs(CC[at]), image_id(at)))
    assert [CC[at] for at in order[:5]] == [0.0, -0.01, 0.02, 0.03, -0.03]
    assert names(report, "zero") == [image_id(at) for at in order[:SHOWN]]
    title = report.run("document.querySelector('#zero-title').textContent")
    assert "earest to zero" in title
    assert f"{SHOWN} images" in title
    # best and worst stay what they were
    ranked = sorted(known, key=lambda at: CC[at])
    assert names(report, "worst") == [image_id(at) for at in ranked[:SHOWN]]
    assert names(report, "best") == [image_id(at) for at in ranked[::-1][:SHOWN]]


def test_images_near_zero_have_their_pictures_and_open(report: Page) -> None:
    report.choose("#pick-metric", "CC ↑")
    report.until(
        "(() => { const all = [...document.querySelectorAll('#zero img')];"
        f" return all.length === {3 * SHOWN} && all.every((i) => i.naturalWidth > 0); }})()"
    )
    report.click("#zero li:nth-child(2) button")
    assert report.run("document.querySelector('#viewer').open")
    assert report.run("document.querySelector('#viewer-title').textContent") == EVIL_IMAGE
    assert "earest to zero" in report.run("document.querySelector('#viewer-place').textContent")


# --- the deep dive ---------------------------------------------------------------------------


def test_the_dive_shows_its_rows(report: Page) -> None:
    assert visible(report, "#dives")
    assert visible(report, "#sections a[href='#dives']")
    assert dive_rows(report) == [
        [
            "toy", "cam", "CC", EVIL_IMAGE, "−0.010", "2-", "0.510",
            "pool+ −0.010, pool- 0.010, 2+ −0.510, 2- 0.510",
        ],
        [EVIL, EVIL, "CC", "image_10", "−0.800", "pool-", "0.800",
         "pool+ −0.800, pool- 0.800, 0+ –"],
    ]  # fmt: skip
    assert report.run("document.querySelectorAll('#dives img, #dives script').length") == 0


def test_an_image_of_the_dive_leads_to_its_picture(report: Page, tmp_path: Path) -> None:
    found = report.run(
        "[...document.querySelectorAll('#dive-table tbody tr')]"
        ".map((row) => [...row.querySelectorAll('a')].map((link) => link.href))"
    )
    picture = tmp_path.resolve() / "deep_dive" / "toy" / "cam" / f"{image_id(3)}.png"
    ((link,), none) = found
    assert unquote(link) == f"file://{picture}"
    assert none == []  # one was not drawn


def test_the_dive_follows_the_data_set(report: Page) -> None:
    report.choose("#pick-dataset", "toy")
    assert [row[0] for row in dive_rows(report)] == ["toy"]
    report.choose("#pick-dataset", EVIL)
    assert [row[0] for row in dive_rows(report)] == [EVIL]
    report.choose("#pick-dataset", "All data sets")
    assert len(dive_rows(report)) == 2


def test_a_data_set_without_a_dive_says_so(page: Page, tmp_path: Path) -> None:
    what = result()
    opened(page, tmp_path, replace(what, dives=what.dives[:1]))
    page.choose("#pick-dataset", EVIL)
    assert dive_rows(page) == []
    assert visible(page, "#dives")
    assert "None of this data set" in page.run("document.querySelector('#dives').textContent")
    page.choose("#pick-dataset", "toy")
    assert len(dive_rows(page)) == 1
    assert page.complaints == []


def test_without_a_dive_there_is_no_section(page: Page, tmp_path: Path) -> None:
    for what in (made_result(), replace(result(), models=(), dives=())):
        opened(page, tmp_path, what)
        assert not visible(page, "#dives")
        assert not visible(page, "#sections a[href='#dives']")
        assert page.complaints == []
