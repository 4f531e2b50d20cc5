"""The benchmark's page: what is in the file."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clickmap_cli.metrics.saliency import SALIENCY_SCORES
from clickmap_cli.reports import benchmark_html
from clickmap_cli.reports.benchmark_html import (
    MAP_SIDE,
    PHOTO_SIDE,
    find_extremes,
    heat,
    interleave,
    photo,
    write_report,
)
from clickmap_cli.scoring.results import (
    BenchmarkResult,
    Failure,
    ImageScore,
    MetricSummary,
    ModelResult,
)
from tests.helpers.benchmark_results import (
    EVIL,
    EVIL_IMAGE,
    EVIL_MODEL,
    METRICS,
    Drawn,
    made_result,
    score_of,
    write,
)


def embedded(text: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)
    assert found is not None
    return json.loads(found[1])


def test_it_names_no_network_and_no_name_acts_as_markup(tmp_path: Path) -> None:
    text = write(tmp_path / "report.html", made_result())
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert EVIL not in text
    assert EVIL_IMAGE not in text
    assert EVIL_MODEL not in text
    assert "\u2028" not in text
    assert text.count("<script") == 3
    assert text.count("</script>") == 3
    assert "default-src 'none'" in text
    assert "unsafe" not in text
    assert embedded(text, "report-data")["experiment"] == EVIL


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "first.html", made_result())
    assert first == write(tmp_path / "second.html", made_result())


def test_scores_are_short_and_what_is_undefined_is_null(tmp_path: Path) -> None:
    data = embedded(write(tmp_path / "report.html", made_result()), "report-data")
    model = data["datasets"][0]["models"][0]
    at = data["datasets"][0]["images"].index("image_04")
    assert model["scores"][METRICS.index("CC")][at] is None
    assert model["scores"][0][at] == float(f"{score_of('toy', 0, 'NSS', 4):.5g}")
    assert data["datasets"][1]["models"][0]["summary"][0]["normalised"] is None


def test_infinite_scores_stay_numbers_of_json(tmp_path: Path) -> None:
    image = ImageScore("a", "all", {"NSS": -math.inf})
    summary = MetricSummary("NSS", 1, 0, -math.inf, *[math.nan] * 12, 0)
    result = BenchmarkResult(
        "x", tmp_path, ("NSS",), (ModelResult("d", "m", (image,), (summary,), 0),), {}, (), ()
    )
    data = embedded(write(tmp_path / "report.html", result), "report-data")
    assert data["datasets"][0]["models"][0]["scores"] == [[-1.7976931348623157e308]]


def test_each_picture_is_asked_for_once_and_only_where_it_is_shown(tmp_path: Path) -> None:
    pictures = Drawn()
    write_report(made_result(), pictures, tmp_path / "report.html", 2)
    assert set(pictures.asked.values()) == {1}
    store = embedded((tmp_path / "report.html").read_text("utf-8"), "report-pictures")
    data = embedded((tmp_path / "report.html").read_text("utf-8"), "report-data")
    for held, dataset in zip(store, data["datasets"], strict=True):
        for m, model in enumerate(dataset["models"]):
            shown = {
                str(at)
                for metric, column in zip(METRICS, model["scores"], strict=True)
                for half in find_extremes(column, SALIENCY_SCORES[metric].higher_is_better, 2)
                for at in half
            }
            assert set(held["predictions"][m]) == shown
            assert shown <= set(held["image"])
    assert set(store[0]["predictions"][0].values()) == {None}
    assert set(store[1]["image"].values()) == {None}


def test_there_is_a_most_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_html, "MOST_PICTURES", 9)
    pictures = Drawn()
    write_report(made_result(), pictures, tmp_path / "report.html", 5)
    assert 9 <= pictures.asked.total() <= 11


def test_no_names_that_utf8_cannot_hold_stop_it(tmp_path: Path) -> None:
    result = BenchmarkResult(
        "x\udc80", tmp_path, ("NSS",), (), {}, (), (Failure("d", "m", "\udcff.png", "no"),)
    )
    assert "x?" in write(tmp_path / "report.html", result)


def test_extremes_take_the_earlier_of_equal_scores() -> None:
    scores = [0.5, None, 0.9, 0.9, 0.1]
    assert find_extremes(scores, True, 2) == ([2, 3], [4, 0])
    assert find_extremes(scores, False, 9) == ([4, 0], [2, 3])
    assert find_extremes(scores, True, 9) == ([2, 3], [4, 0])
    assert find_extremes([0.5] * 5, True, 3) == ([0, 1, 2], [3, 4])
    assert find_extremes([0.5] * 9, True, 3) == ([0, 1, 2], [3, 4, 5])
    assert find_extremes([0.5], True, 3) == ([0], [])
    assert list(interleave([("a", [1, 2]), ("b", [3])])) == [("a", 1), ("b", 3), ("a", 2)]


def test_thumbnails_are_small_and_keep_their_shape() -> None:
    def size(text: str | None) -> tuple[int, int]:
        assert text is not None
        return Image.open(io.BytesIO(base64.b64decode(text))).size

    assert size(photo(np.zeros((600, 800, 3), dtype=np.float32))) == (PHOTO_SIDE, 150)
    assert size(heat(np.full((800, 400), np.nan))) == (80, MAP_SIDE)
    assert size(heat(np.eye(8))) == (8, 8)
    assert photo(None) is None
    assert heat(None) is None
    assert heat(np.full((600, 800), 1 / 480000)) == heat(np.zeros((600, 800)))


def test_what_the_run_said_stands_on_the_page_and_acts_as_nothing(tmp_path: Path) -> None:
    told = ("8 of 8 maps are of whole images and were cropped.", f"{EVIL}: half of them.")
    text = write(tmp_path / "report.html", dataclasses.replace(made_result(), notices=told))
    listed = re.search(r'<section id="notices".*?</section>', text, re.S)
    assert listed is not None
    assert listed[0].count("<li>") == 2
    assert told[0] in listed[0]
    assert EVIL not in text
    without = write(tmp_path / "without.html", made_result())
    assert 'id="notices"' not in without


def test_what_was_done_to_predictions_is_on_the_page(tmp_path: Path) -> None:
    result = made_result()
    placed = [
        dataclasses.replace(row, placement="cropped" if at % 2 else "as it is")
        for at, row in enumerate(result.models[0].images)
    ]
    first = dataclasses.replace(result.models[0], images=tuple(placed))
    models = (first, *result.models[1:])
    page = write(tmp_path / "report.html", dataclasses.replace(result, models=models))
    data = embedded(page, "report-data")
    n = len(placed)
    assert data["datasets"][0]["models"][0]["placement"] == {
        "as it is": n - n // 2, "cropped": n // 2,
    }  # fmt: skip
    assert data["datasets"][0]["models"][1]["placement"] == {}
