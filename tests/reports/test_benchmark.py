"""The benchmark's tables in the terminal: their order, and scores that have no meaning."""

from __future__ import annotations

import io
import math
from pathlib import Path

from rich.console import Console

from clickmap_cli.reports.benchmark import score_tables
from clickmap_cli.scoring.results import BenchmarkResult, ImageScore, MetricSummary, ModelResult

NAN = math.nan
WORSE = (2.5, 2.0)  # the ceiling of KL is not better than its null


def summary(metric, mean, ceiling=NAN, null=NAN, normalised=NAN) -> MetricSummary:
    n = 0 if math.isnan(ceiling) else 5
    ends = (NAN, NAN)
    return MetricSummary(
        metric, 5, 0, mean, *ends, NAN, ceiling, *ends, null, *ends, normalised, *ends, n
    )


def result(model, auc, kl, normalised, *, is_people=False, of_kl=WORSE) -> ModelResult:
    scores = (summary("AUC", auc, 0.8, 0.6, normalised), summary("KL", kl, *of_kl))
    images = tuple(ImageScore(f"i{n}", "", {}) for n in range(5))
    return ModelResult("toy", model, images, scores, 0, is_people)


def printed(*results: ModelResult) -> list[list[str]]:
    out = io.StringIO()
    console = Console(file=out, width=120)
    for table in score_tables(BenchmarkResult("toy", Path(), ("AUC", "KL"), results)):
        console.print(table)
    return [line.split() for line in out.getvalue().splitlines()]


def test_people_are_listed_below_the_models() -> None:
    rows = printed(
        result("everyone", 0.95, 0.1, 1.0, is_people=True),
        result("low", 0.5, 0.9, -0.5),
        result("lost", NAN, 0.9, NAN),
        result("high", 0.7, 0.5, 0.5),
    )
    first = [row[0] if row[0] != "people:" else row[1] for row in rows]
    assert first[2:6] == ["high", "low", "lost", "everyone"]
    assert rows[5] == ["people:", "everyone", "0.950", "0.100"]
    assert [row for row in rows if row[:2] == ["people:", "everyone"]][1][2:] == ["1.00", "n.m."]


def test_a_normalised_score_without_a_ceiling_above_the_null_is_not_meaningful() -> None:
    rows = printed(result("high", 0.7, 0.5, 0.5), result("lost", NAN, 0.9, NAN))
    assert ["high", "0.50", "n.m."] in rows
    assert ["people:", "ceiling", "0.800", "2.500"] in rows
    text = " ".join(" ".join(row) for row in rows)
    assert "n.m. = not meaningful: by KL people predict" in text
    assert "0 = what another image's people reach" in text


def test_an_infinite_score_is_a_dash_and_its_ceiling_has_a_meaning_all_the_same() -> None:
    scores = (summary("AUC", 0.7, 0.8, 0.6, -math.inf), summary("KL", 0.5, 1.0, 2.0, 0.5))
    rows = printed(ModelResult("toy", "bad", (ImageScore("a", "", {}),), scores, 0))
    assert ["bad", "-", "0.50"] in rows
    assert "n.m." not in str(rows)


def test_a_metric_without_any_score_is_not_shown() -> None:
    rows = printed(result("m", 0.7, NAN, 0.5, of_kl=(NAN, NAN)))
    assert ["m", "0.50"] in rows
    assert "n.m." not in str(rows)
