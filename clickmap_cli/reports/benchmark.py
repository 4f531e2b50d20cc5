"""Terminal output of a benchmark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from clickmap_cli.datasets.base import DATASETS
from clickmap_cli.metrics.saliency import SALIENCY_SCORES
from clickmap_cli.models.base import MODELS
from clickmap_cli.reports.console import dry_line, new_table, number
from clickmap_cli.scoring.results import BenchmarkResult, MetricSummary, ModelResult
from clickmap_cli.scoring.summaries import is_better
from clickmap_cli.scoring.tables import as_summary
from clickmap_cli.services.job import Outcome

MEANINGLESS = "n.m."
"""Shown for a normalised score if the ceiling is not better than the null."""


def score_tables(result: BenchmarkResult) -> list[Table]:
    """Return the tables of each data set: scores, and scores normalised by people's scores.

    Models are sorted from best to worst by the first metric. People who are scored like a model
    come after the models.
    """
    tables = []
    for label in dict.fromkeys(found.dataset for found in result.models):
        ours = [found for found in result.models if found.dataset == label]
        by_metric = {m: [found.score(m) for found in ours] for m in result.metrics}
        shown = [
            metric
            for metric, scores in by_metric.items()
            if any(math.isfinite(score.mean) for score in scores)
        ]
        ordered = _best_first(ours, shown)
        tables.append(_scores(label, ordered, shown))
        if any(score.n_people_images for metric in shown for score in by_metric[metric]):
            tables.append(_shares(label, ordered, shown))
    return tables


def _scores(label: str, results: Sequence[ModelResult], shown: Sequence[str]) -> Table:
    n = max(len(found.images) for found in results)
    table = _table(f"{label}, n = {n:,} images", shown)
    for found in results:
        left_out = f" ({found.n_failed} failed)" if found.n_failed else ""
        cells = [number(found.score(metric).mean) for metric in shown]
        table.add_row(_name(found, left_out), *(Text(cell) for cell in cells))
    return table


def _name(found: ModelResult, after: str = "") -> Text:
    """Return a model's name; that of people is marked."""
    if found.is_people:
        return Text(f"people: {found.model}{after}", style="dim")
    return Text(found.model + after)


def _shares(label: str, results: Sequence[ModelResult], shown: Sequence[str]) -> Table:
    """Return a table of normalised scores, with the ceiling and null that define 1 and 0."""
    title = f"{label}, normalised (0 = what another image's people reach, 1 = its own people)"
    table = _table(title, shown)
    for found in results:
        scores = [found.score(metric) for metric in shown]
        cells = [MEANINGLESS if is_meaningless(s) else number(s.normalised, 2) for s in scores]
        table.add_row(_name(found), *(Text(cell) for cell in cells))
    for name in ("ceiling", "null"):
        columns = [[getattr(found.score(m), name) for found in results] for m in shown]
        values = [next((v for v in column if math.isfinite(v)), math.nan) for column in columns]
        dim = [Text(number(value), style="dim") for value in values]
        table.add_row(Text(f"people: {name}", style="dim"), *dim)
    lost = [m for m in shown if any(is_meaningless(found.score(m)) for found in results)]
    if lost:
        table.caption = (
            f"{MEANINGLESS} = not meaningful: by {', '.join(lost)} people predict this image's "
            "people no better than another image's people do."
        )
        table.caption_justify = "left"
    return table


def is_meaningless(score: MetricSummary) -> bool:
    """Return True if ceiling and null are known and the ceiling is not better."""
    known = math.isfinite(score.ceiling) and math.isfinite(score.null)
    return known and not is_better(score.metric, score.ceiling, score.null)


def _table(title: str, shown: Sequence[str]) -> Table:
    return new_table(title, ["model"], [mark_direction(metric) for metric in shown])


def mark_direction(metric: str) -> str:
    """Return a metric's name, with an arrow if lower is better."""
    return metric if SALIENCY_SCORES[metric].higher_is_better else f"{metric} ↓"


def _best_first(results: Sequence[ModelResult], shown: Sequence[str]) -> list[ModelResult]:
    """Sort results for the table: models from best to worst, then people."""

    def place(found: ModelResult) -> tuple[bool, float]:
        if not shown:
            return found.is_people, 0.0
        mean = found.score(shown[0]).mean
        turn = -1 if SALIENCY_SCORES[shown[0]].higher_is_better else 1
        return found.is_people, turn * mean if math.isfinite(mean) else math.inf

    return sorted(results, key=place)


def summary_lines(run: Outcome[BenchmarkResult]) -> list[str]:
    """Summarise a run in one line."""
    result = run.summary
    if not run.written:
        return [dry_line("write", run.folder)]
    if result.predicted is not None:
        return [
            f"Predicted {result.predicted:,} images in {run.seconds:.1f} s; nothing was scored."
        ]
    if not any(found.images for found in result.models):
        return [f"No image could be scored; {run.folder / 'failures.csv'} says why for each."]
    return [f"{run.folder / 'report.html'}: open it; tables beside it, in {run.seconds:.1f} s."]


def as_json(run: Outcome[BenchmarkResult]) -> dict[str, Any]:
    """Return the result as one JSON value; without scores, only failures and predictions."""
    failures = {"failures": run.summary.failures}
    if not run.written:
        return failures
    if run.summary.predicted is not None:
        return {"predicted": run.summary.predicted, **failures}
    return as_summary(run.summary)


def listing_json() -> dict[str, list[dict[str, Any]]]:
    """Return everything that a benchmark's config may name."""
    return {
        **{
            kind: [
                {
                    "name": entry.name,
                    "summary": entry.summary,
                    "origin": entry.origin,
                    "reference": entry.reference,
                }
                for entry in registry.entries()
            ]
            for kind, registry in (("datasets", DATASETS), ("models", MODELS))
        },
        "metrics": [
            {
                "name": score.name,
                "higher_is_better": score.higher_is_better,
                "needs": score.needs,
                "reference": score.reference,
            }
            for score in SALIENCY_SCORES.values()
        ],
    }


def listing_lines() -> list[str]:
    """Return the same as lines of text."""
    found = listing_json()
    lines = []
    for kind, title in (("datasets", "Data sets"), ("models", "Models")):
        lines.append(title)
        for entry in found[kind]:
            own = entry["origin"] == "clickmap"
            after = f"; {entry['reference']}" if own else f" ({entry['origin']})"
            lines.append(f"  {entry['name']:<15} {entry['summary']}{after}")
    lines.append("Metrics")
    for entry in found["metrics"]:
        turn = "higher is better" if entry["higher_is_better"] else "lower is better"
        against = "fixations" if entry["needs"] == "points" else "a ground-truth map"
        lines.append(f"  {entry['name']:<15} {turn}, against {against}; {entry['reference']}")
    return lines
