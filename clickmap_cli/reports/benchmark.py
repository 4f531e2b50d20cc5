"""Terminal output of a benchmark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from clickmap_cli.datasets.base import DATASETS
from clickmap_cli.metrics.saliency import SALIENCY_SCORES
from clickmap_cli.models.base import MODELS
from clickmap_cli.reports import console
from clickmap_cli.reports.console import dry_line, new_table, number
from clickmap_cli.services.benchmark.run import BenchmarkRun
from clickmap_cli.services.benchmark.summaries import is_better

MEANINGLESS = "n.m."
"""Shown for a normalised score if the ceiling is not better than the null."""


def score_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Return the tables of each data set: scores, and scores normalised by people's scores.

    Models are sorted from best to worst by the first metric. People who are scored like a model
    come after the models.
    """
    results = summary.get("results", [])
    tables = []
    for label in dict.fromkeys(result["dataset"] for result in results):
        ours = [result for result in results if result["dataset"] == label]
        shown = [
            metric
            for metric in summary["metrics"]
            if any(result["scores"][metric]["mean"] is not None for result in ours)
        ]
        ordered = _best_first(ours, shown)
        tables.append(_scores(label, ordered, shown))
        if any("normalised" in result["scores"][metric] for result in ours for metric in shown):
            tables.append(_shares(label, ordered, shown))
    return tables


def _scores(label: str, results: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> Table:
    n = max(result["n_images"] for result in results)
    table = _table(f"{label}, n = {n:,} images", shown)
    for result in results:
        left_out = f" ({result['n_failed']} failed)" if result["n_failed"] else ""
        cells = [number(result["scores"][metric]["mean"]) for metric in shown]
        table.add_row(_name(result, left_out), *(Text(cell) for cell in cells))
    return table


def _name(result: Mapping[str, Any], after: str = "") -> Text:
    """Return a model's name; that of people is marked."""
    if result.get("is_people"):
        return Text(f"people: {result['model']}{after}", style="dim")
    return Text(result["model"] + after)


def _shares(label: str, results: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> Table:
    """Return a table of normalised scores, with the ceiling and null that define 1 and 0."""
    title = f"{label}, normalised (0 = what another image's people reach, 1 = its own people)"
    table = _table(title, shown)
    for result in results:
        scores = result["scores"]
        cells = [
            MEANINGLESS if _is_meaningless(m, scores[m]) else number(scores[m].get("normalised"), 2)
            for m in shown
        ]
        table.add_row(_name(result), *(Text(cell) for cell in cells))
    for name in ("ceiling", "null"):
        values = [_of_people(results, metric, name) for metric in shown]
        dim = [Text(number(value), style="dim") for value in values]
        table.add_row(Text(f"people: {name}", style="dim"), *dim)
    lost = [m for m in shown if any(_is_meaningless(m, r["scores"][m]) for r in results)]
    if lost:
        table.caption = (
            f"{MEANINGLESS} = not meaningful: by {', '.join(lost)} people predict this image's "
            "people no better than another image's people do."
        )
        table.caption_justify = "left"
    return table


def _is_meaningless(metric: str, score: Mapping[str, Any]) -> bool:
    """Return True if ceiling and null are known and the ceiling is not better."""
    ceiling, null = score.get("ceiling"), score.get("null")
    return ceiling is not None and null is not None and not is_better(metric, ceiling, null)


def _table(title: str, shown: Sequence[str]) -> Table:
    return new_table(title, ["model"], [arrowed(metric) for metric in shown])


def arrowed(metric: str) -> str:
    """Return a metric's name, with an arrow if lower is better."""
    return metric if SALIENCY_SCORES[metric].higher_is_better else f"{metric} ↓"


def _best_first(
    results: Sequence[Mapping[str, Any]], shown: Sequence[str]
) -> list[Mapping[str, Any]]:
    """Sort results for the table: models from best to worst, then people."""
    if not shown:
        return sorted(results, key=lambda r: bool(r.get("is_people")))
    first = shown[0]
    turn = -1 if SALIENCY_SCORES[first].higher_is_better else 1

    def place(result: Mapping[str, Any]) -> tuple[bool, float]:
        mean = result["scores"][first]["mean"]
        return bool(result.get("is_people")), math.inf if mean is None else turn * mean

    return sorted(results, key=place)


def _of_people(results: Sequence[Mapping[str, Any]], metric: str, name: str) -> float | None:
    values = [result["scores"][metric].get(name) for result in results]
    return next((value for value in values if value is not None), None)


def summary_lines(run: BenchmarkRun) -> list[str]:
    """Summarise a run in one line."""
    if not run.written:
        return [dry_line("write", run.folder)]
    if "results" not in run.summary:
        done = run.summary["predicted"]
        return [f"Predicted {done:,} images in {run.seconds:.1f} s; nothing was scored."]
    if not any(result["n_images"] for result in run.summary["results"]):
        return [f"No image could be scored; {run.folder / 'failures.csv'} says why for each."]
    return [f"{run.folder / 'report.html'}: open it; tables beside it, in {run.seconds:.1f} s."]


def failure_lines(run: BenchmarkRun) -> list[str]:
    """Return the first images that were left out, and the number of the others."""
    failures = run.summary.get("failures", [])
    sentences = [
        f"{row['dataset']}{', ' + row['model'] if row['model'] else ''}, {row['image_id']}: "
        f"{row['reason']}"
        for row in failures
    ]
    return console.failure_lines(sentences, "; see failures.csv" if run.written else "")


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
