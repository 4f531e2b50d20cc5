"""The benchmark's page in a browser: it sorts, filters, opens images, and asks for nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clickmap_cli.metrics.saliency import SALIENCY_SCORES
from clickmap_cli.scoring.results import (
    BenchmarkResult,
    Failure,
    ImageScore,
    MetricSummary,
    ModelResult,
)
from tests.helpers.benchmark_results import (
    CATEGORIES,
    EVIL,
    EVIL_IMAGE,
    METRICS,
    MODELS,
    N_IMAGES,
    image_id,
    made_result,
    score_of,
    write,
)
from tests.helpers.browser import CHROMIUM, Page, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as opened:
        yield opened


@pytest.fixture
def report(page: Page, tmp_path: Path) -> Iterator[Page]:
    """The page, freshly loaded; at the end it has complained of nothing and asked for nothing."""
    write(tmp_path / "report.html", made_result())
    page.complaints.clear()
    page.requests.clear()
    page.open(tmp_path / "report.html")
    yield page
    own = (tmp_path / "report.html").resolve().as_uri()
    assert page.complaints == []
    assert [url for url in page.requests if url != own and not url.startswith("data:image/")] == []


def rows(page: Page, table: str = "#board-table") -> list[list[str]]:
    """The texts of a table's cells; of a score only the number, not its intervals."""
    found: list[list[str]] = page.run(
        f"""[...document.querySelectorAll("{table} tbody tr")].map((row) =>
            [...row.cells].map((cell) => (cell.querySelector("b") ?? cell).textContent))"""
    )
    return found


def head(page: Page, column: int) -> str:
    state: str = page.run(
        f"document.querySelectorAll('#board-table th[scope=col]')[{column}].ariaSort"
    )
    return state


def shown(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def mean_of(dataset: str, model: int, metric: str, category: str | None = None) -> float:
    values = [
        score_of(dataset, model, metric, at)
        for at in range(N_IMAGES)
        if category is None or CATEGORIES[at % 3] == category
    ]
    return float(np.nanmean(values))


def test_names_are_text_in_the_page(report: Page) -> None:
    assert report.run("document.querySelector('h1').textContent") == EVIL
    assert report.run("document.querySelectorAll('main img:not(.trio img)').length") == 0
    assert report.run("document.scripts.length") == 3
    assert {row[0] for row in rows(report)} == {"toy", EVIL}
    assert rows(report, "#failure-table") == [["toy", "every model", EVIL_IMAGE, f"it says {EVIL}"]]


def test_a_column_head_sorts_both_ways_by_mouse_and_keyboard(report: Page) -> None:
    means = [mean_of(d, m, "NSS") for d in ("toy", EVIL) for m in range(3)]
    nss = "#board-table th:nth-child(4) button"
    report.click(nss)
    assert [row[3] for row in rows(report)] == [shown(v) for v in sorted(means, reverse=True)]
    assert head(report, 3) == "descending"
    report.click(nss)
    assert [row[3] for row in rows(report)] == [shown(v) for v in sorted(means)]
    assert head(report, 3) == "ascending"

    losses = sorted(mean_of(d, m, "KL") for d in ("toy", EVIL) for m in range(3))
    report.focus("#board-table th:nth-child(5) button")
    report.press("Enter")
    assert [row[4] for row in rows(report)] == [shown(v) for v in losses]
    assert (head(report, 4), head(report, 3)) == ("ascending", "none")
    report.press(" ")
    assert [row[4] for row in rows(report)] == [shown(v) for v in reversed(losses)]
    assert head(report, 4) == "descending"
    assert report.run("document.querySelector('#pick-metric').selectedOptions[0].text") == "KL ↓"


def test_the_best_of_each_data_set_is_marked(report: Page) -> None:
    marked = report.run(
        """[...document.querySelectorAll("#board-table tbody tr")].map((row) =>
            [row.cells[0].textContent, row.cells[1].textContent,
             [...row.cells].map((cell) => cell.classList.contains("best"))])"""
    )
    for k, metric in enumerate(METRICS):
        choose = max if SALIENCY_SCORES[metric].higher_is_better else min
        best = {
            (d, MODELS[choose(range(3), key=lambda m, d=d, metric=metric: mean_of(d, m, metric))])
            for d in ("toy", EVIL)
        }
        assert {(d, m) for d, m, cells in marked if cells[3 + k]} == best


def test_the_data_set_filter_leaves_its_rows(report: Page) -> None:
    assert len(rows(report)) == 6
    report.choose("#pick-dataset", EVIL)
    assert [row[0] for row in rows(report)] == [EVIL] * 3
    assert report.run("document.querySelectorAll('.chart').length") == 1
    assert "No ceiling is known" in report.run("document.querySelector('.chart').textContent")
    assert rows(report, "#failure-table") == []
    names = report.run(
        "[...document.querySelector('#pick-image-dataset').options].map(o => o.text)"
    )
    assert names == [EVIL]


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_category_filter_recomputes_means(report: Page, category: str) -> None:
    report.choose("#pick-category", category)
    found = {(row[0], row[1]): row[2:] for row in rows(report)}
    assert len(found) == 6
    for dataset in ("toy", EVIL):
        for model, name in enumerate(MODELS):
            n, *means = found[dataset, name]
            assert n == "10"
            expected = [mean_of(dataset, model, metric, category) for metric in METRICS]
            # as shown: a half may go either way
            assert [float(text.replace("−", "-")) for text in means] == pytest.approx(
                expected, abs=5.01e-4
            )
    said = report.run("document.querySelector('#board-legend').textContent")
    assert "only for all categories" in said
    assert {row[1] for row in rows(report, "#every-table")} == {category}
    report.choose("#pick-category", "All categories")
    assert shown(mean_of("toy", 0, "NSS")) in {row[3] for row in rows(report)}


def test_ceiling_and_null_are_drawn_where_they_are_known(report: Page) -> None:
    assert report.run("document.querySelectorAll('.chart').length") == 2
    for line in ("ceiling", "null"):
        assert report.run(f"document.querySelectorAll('svg line.{line}').length") == 3
        assert report.run(f"document.querySelectorAll('svg rect.{line}-band').length") == 3


def test_cards_show_the_best_and_the_worst(report: Page) -> None:
    report.choose("#pick-metric", "KL ↓")
    report.choose("#pick-model", "sharp")
    order = sorted(range(N_IMAGES), key=lambda at: score_of("toy", 1, "KL", at))
    for half, expected in (("best", order[:5]), ("worst", order[::-1][:5])):
        names = report.run(f"[...document.querySelectorAll('#{half} .name')].map(n => n.title)")
        assert names == [image_id(at) for at in expected]
    assert report.run("document.querySelectorAll('#best img').length") == 15
    report.until("[...document.querySelectorAll('#best img')].every(i => i.naturalWidth > 0)")
    report.choose("#pick-model", "flat")
    assert "predictions were not kept" in report.run("document.querySelector('#best').textContent")


def test_an_image_opens_moves_by_arrow_keys_and_closes(report: Page) -> None:
    report.choose("#pick-model", "sharp")
    order = sorted(range(N_IMAGES), key=lambda at: -score_of("toy", 1, "NSS", at))
    report.click("#best li:nth-child(2) button")
    assert report.run("document.querySelector('#viewer').open")
    title = "document.querySelector('#viewer-title').textContent"
    assert report.run(title) == image_id(order[1])
    table = rows(report, "#viewer-scores")
    assert [row[0] for row in table] == list(MODELS)
    assert table[1][1] == shown(score_of("toy", 1, "NSS", order[1]))
    for key, place in (("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0), ("ArrowLeft", 0)):
        report.press(key)
        assert report.run(title) == image_id(order[place])
    report.press("Escape")
    report.until("!document.querySelector('#viewer').open")

    report.focus("#worst li:first-child button")
    report.press("Enter")
    assert report.run("document.querySelector('#viewer').open")
    assert report.run(title) == image_id(order[-1])
    report.click("#viewer-close")
    assert not report.run("document.querySelector('#viewer').open")
    assert report.run("document.activeElement.closest('ul').id") == "worst"


def test_search_finds_images_by_name(report: Page) -> None:
    report.focus("#search")
    report.call("Input.insertText", text="ONERROR")
    assert [row[0] for row in rows(report, "#every-table")] == [EVIL_IMAGE]
    report.click("#every-table tbody button")
    assert report.run("document.querySelector('#viewer-title').textContent") == EVIL_IMAGE


def test_deciles_cut_the_sorted_scores(report: Page) -> None:
    report.choose("#pick-model", "sharp")
    scores = sorted(score_of("toy", 1, "NSS", at) for at in range(N_IMAGES))
    expected = [
        [str(k + 1), "3", shown(min(part)), shown(max(part)), shown(float(np.mean(part)))]
        for k in range(10)
        for part in [scores[3 * k : 3 * k + 3]]
    ]
    assert rows(report, "#decile-table") == expected


def test_comparisons_are_of_the_metric_or_of_all(report: Page) -> None:
    assert [row[:4] for row in rows(report, "#comparison-table")] == [
        ["toy", "NSS", "flat", "sharp"]
    ]
    assert "< 0.001" in rows(report, "#comparison-table")[0]
    report.click("#every-metric")
    assert len(rows(report, "#comparison-table")) == 2


def test_columns_can_be_left_out(report: Page) -> None:
    for _ in range(2):
        report.click("#board-table th:nth-child(4) button")
    report.click("#columns summary")
    report.click("#columns label:nth-of-type(2) input")
    heads = report.run(
        "[...document.querySelectorAll('#board-table th[scope=col]')].map(h => h.textContent)"
    )
    assert heads == ["Data set", "Model", "Images", "NSS ↑▲", "CC ↑"]
    assert len(rows(report)[0]) == 5
    assert head(report, 3) == "ascending"


def test_every_control_has_a_name(report: Page) -> None:
    nodes = report.call("Accessibility.getFullAXTree")["nodes"]
    controls = [
        node
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"]
        in {"button", "combobox", "searchbox", "checkbox", "link", "image"}
    ]
    assert len(controls) > 20
    assert [node for node in controls if not node.get("name", {}).get("value")] == []


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_but_tables_scrolls_sideways(report: Page, tmp_path: Path, width: int) -> None:
    report.open(tmp_path / "report.html", width)
    assert report.run("document.documentElement.scrollWidth") <= width


def test_on_paper_there_are_no_controls(report: Page) -> None:
    report.call("Emulation.setEmulatedMedia", media="print")
    try:
        seen = report.run(
            """[...document.querySelectorAll("select, input, nav, summary")]
                .filter((node) => node.checkVisibility()).length"""
        )
        assert seen == 0
        assert report.run("document.querySelector('#view').checkVisibility()")
    finally:
        report.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("what", ["all failed", "one of each", "nothing scored"])
def test_small_results_give_a_sane_page(page: Page, tmp_path: Path, what: str) -> None:
    one = ImageScore("a", "all", {"NSS": -math.inf})
    none = [math.nan] * 12
    models = {
        "all failed": (),
        "one of each": (
            ModelResult("d", "m", (one,), (MetricSummary("NSS", 1, 0, -math.inf, *none, 0),), 0),
        ),
        "nothing scored": (
            ModelResult("d", "m", (), (MetricSummary("NSS", 0, 0, math.nan, *none, 0),), 1),
        ),
    }[what]
    failures = (Failure("d", "m", "b", "no such file"),)
    write(
        tmp_path / "report.html",
        BenchmarkResult("x", tmp_path, ("NSS",), models, {}, (), failures),
    )
    page.complaints.clear()
    page.open(tmp_path / "report.html")
    text = page.run("document.body.innerText")
    assert page.complaints == []
    assert "no such file" in text
    assert "NaN" not in text
    assert "undefined," not in text
    if what == "all failed":
        assert "No model has a score" in text
    else:
        assert [row[:3] for row in rows(page)] == [
            ["d", "m", "1" if models[0].images else "01 failed"]
        ]
        assert rows(page)[0][3] == ("−∞" if models[0].images else "–")
