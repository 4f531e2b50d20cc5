"""The benchmark's tables in the terminal: what stands where, and what is not said."""

from __future__ import annotations

import io

from rich.console import Console

from clickmap_cli.reports.benchmark import score_tables


def result(model: str, auc: float | None, kl: float, normalised: float | None, **more) -> dict:
    people = {"ceiling": 0.8, "null": 0.6, "normalised": normalised}
    # the ceiling of KL is not better than its null
    worse = {"ceiling": 2.5, "null": 2.0, "normalised": None}
    known = {"mean": None} if auc is None else {"mean": auc, **people}
    scores = {"AUC": known, "KL": {"mean": kl, **worse}}
    return {
        "dataset": "toy",
        "model": model,
        "n_images": 5,
        "n_failed": 0,
        "scores": scores,
        **more,
    }


def printed(*results: dict) -> list[list[str]]:
    out = io.StringIO()
    console = Console(file=out, width=120)
    for table in score_tables({"metrics": ["AUC", "KL"], "results": list(results)}):
        console.print(table)
    return [line.split() for line in out.getvalue().splitlines()]


def test_people_stand_below_the_models() -> None:
    rows = printed(
        result("everyone", 0.95, 0.1, 1.0, is_people=True),
        result("low", 0.5, 0.9, -0.5),
        result("lost", None, 0.9, None),
        result("high", 0.7, 0.5, 0.5),
    )
    first = [row[0] if row[0] != "people:" else row[1] for row in rows]
    assert first[2:6] == ["high", "low", "lost", "everyone"]
    assert rows[5] == ["people:", "everyone", "0.950", "0.100"]
    assert [row for row in rows if row[:2] == ["people:", "everyone"]][1][2:] == ["1.00", "n.m."]


def test_a_normalised_score_without_a_ceiling_above_the_null_is_not_meaningful() -> None:
    rows = printed(result("high", 0.7, 0.5, 0.5), result("lost", None, 0.9, None))
    assert ["high", "0.50", "n.m."] in rows
    assert ["people:", "ceiling", "0.800", "2.500"] in rows
    text = " ".join(" ".join(row) for row in rows)
    assert "n.m. = not meaningful: by KL people predict" in text
    assert "0 = what another image's people reach" in text


def test_a_score_without_bound_is_no_matter_of_the_ceiling() -> None:
    """Minus infinity is null in JSON, with a ceiling above the null all the same."""
    rows = printed(result("bad", None, 0.5, None) | {"scores": {
        "AUC": {"mean": 0.7, "ceiling": 0.8, "null": 0.6, "normalised": None},
        "KL": {"mean": 0.5, "ceiling": 1.0, "null": 2.0, "normalised": 0.5},
    }})  # fmt: skip
    assert ["bad", "-", "0.50"] in rows
    assert "n.m." not in str(rows)


def test_numbers_that_all_mean_something_need_no_explanation() -> None:
    plain = {"dataset": "toy", "model": "m", "n_images": 5, "n_failed": 0}
    scores = {"mean": 0.7, "ceiling": 0.8, "null": 0.6, "normalised": 0.5}
    rows = printed({**plain, "scores": {"AUC": scores, "KL": {"mean": None}}})
    assert ["m", "0.50"] in rows
    assert "n.m." not in str(rows)
