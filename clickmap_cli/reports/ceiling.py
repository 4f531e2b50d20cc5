"""Terminal output and figures of a ceiling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from clickmap_cli.reports.console import dry_line, interval, new_table, number
from clickmap_cli.reports.style import (
    COLOURS,
    HEIGHT,
    NARROW,
    WIDTH,
    chart_title,
    draw_boxes,
    save,
    styled,
)
from clickmap_cli.services.ceiling.results import CeilingResult, CeilingSummary
from clickmap_cli.services.job import Outcome

Outcomes = Sequence[Outcome[CeilingResult]]

_MOST_CATEGORIES = 30
_POOR_FIT = 0.05  # error of the reliability, at the worst point, above which a fit is poor


def ceiling_table(run: Outcomes) -> Table:
    """Return a table of ceiling, null and ratio of every metric, with intervals."""
    first = run[0].summary.summary
    method = first.method
    title = f"Human ceiling, {method}{_resamples(first)}"
    table = new_table(title)
    table.add_column("metric", no_wrap=True, min_width=8)
    last_column = "Spearman-Brown" if method == "split-half" else "upper bound"
    for name in ("images", "maps", "ceiling [95%]", "null [95%]", "ratio", last_column):
        table.add_column(Text(name), justify="right", no_wrap=True)
    for outcome in run:
        s = outcome.summary.summary
        last = s.upper_mean if s.spearman_brown_mean is None else s.spearman_brown_mean
        cells = (
            s.metric,
            f"{s.n_images:,}",
            f"{s.n_maps:,}",
            _with_interval(s.ceiling_mean, s.ceiling_ci),
            _with_interval(s.null_mean, s.null_ci),
            number(s.ratio, 2),
            number(last),
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _resamples(s: CeilingSummary) -> str:
    """Return the number of resamples in words."""
    what = "images and participants" if s.bootstrap == "crossed" else s.bootstrap
    return f", {s.resamples:,} resamples of {what}"


def summary_lines(run: Outcomes) -> list[str]:
    """Return the remaining results in a few lines."""
    folder = run[0].folder.parent
    if not run[0].written:
        return [dry_line("write", folder)]
    lines = []
    for outcome in run:
        s = outcome.summary.summary
        if s.no_ratio and s.higher_is_better:
            lines.append(f"{s.metric}: no ratio, because {s.no_ratio}.")
        if s.n_flagged:
            lines.append(
                f"{s.metric}: {s.n_flagged} of {s.n_participants} participants flagged "
                "(robust z below -3); see per_participant.csv."
            )
        if _known(s.participants_needed) is not None:
            lines.append(_needed_line(s))
    lines.append(f"{folder}: tables and figures, in {run[-1].seconds:.1f} s.")
    return lines


def _known(value: float | None) -> float | None:
    """Return a number, or None if it is NaN."""
    return None if value is None or math.isnan(value) else value


def _needed_line(s: CeilingSummary) -> str:
    line = (
        f"{s.metric}: {s.participants_needed} participants a half reach a reliability of "
        f"{s.target_reliability:g} by the Spearman-Brown fit"
    )
    if (s.fit_error or 0) > _POOR_FIT:
        return f"{line}, which misses the curve by up to {s.fit_error:.2f}: do not rely on it."
    return f"{line}."


def as_json(run: Outcomes) -> Any:
    """Return the summaries: one value for one metric, a list for several; after a dry run none."""
    values = [outcome.summary.summary.as_json() for outcome in run if outcome.written]
    return values[0] if len(values) == 1 else values


def draw_ceiling(result: CeilingResult, path: Path) -> None:
    """Draw the distributions of ceiling and null over images, and a box for each category."""
    s = result.summary
    ceiling = result.raw_ceiling[0] if s.metric == "rsa" else _column(result, "ceiling")
    null = result.raw_null[0] if s.metric == "rsa" else _column(result, "null")
    unit = "splits" if s.metric == "rsa" else "images"
    several = len(result.categories) > 1
    shown = result.categories[:_MOST_CATEGORIES]
    with styled() as plt:
        height = HEIGHT + (0.16 * max(len(shown) - 8, 0) if several else 0)
        figure, axes = plt.subplots(
            1, 2 if several else 1, figsize=(WIDTH if several else NARROW, height),
            squeeze=False, layout="constrained",
        )  # fmt: skip
        axis = axes[0, 0]
        known = np.concatenate([ceiling[np.isfinite(ceiling)], null[np.isfinite(null)]])
        bins = np.linspace(known.min(), known.max(), 31) if np.ptp(known) > 0 else 10
        for raw, name in ((null, "null"), (ceiling, "ceiling")):
            colour = COLOURS["null" if name == "null" else "data"]
            values = raw[np.isfinite(raw)]
            if len(values):
                label = f"{name}, mean {values.mean():.3f}"
                axis.hist(values, bins=bins, color=colour, alpha=0.65, label=label)
                axis.axvline(values.mean(), color=colour, linewidth=1.5)
        axis.set_xlabel(s.metric)
        axis.set_ylabel(unit)
        chart_title(axis, f"{s.method}, n = {s.n_images} images")
        figure.legend(loc="outside lower left", ncols=2)
        if several:
            _draw_categories(axes[0, 1], result, [row.category for row in shown])
        save(figure, path)


def draw_curve(result: CeilingResult, path: Path) -> None:
    """Draw reliability against the number of participants per half, and the Spearman-Brown fit."""
    s, curve = result.summary, result.curve
    sizes = np.array([row.participants for row in curve], dtype=np.float64)
    mean = np.array([row.reliability for row in curve])
    with styled() as plt:
        figure, axis = plt.subplots(figsize=(NARROW, HEIGHT), layout="constrained")
        below = mean - np.array([row.low for row in curve])
        above = np.array([row.high for row in curve]) - mean
        axis.errorbar(
            sizes, mean, yerr=np.maximum(np.stack((below, above)), 0), fmt="o",
            color=COLOURS["data"], capsize=2, label="halves, 95% interval",
        )  # fmt: skip
        single = _known(s.single_participant_reliability)
        needed = _known(s.participants_needed)
        poor = (_known(s.fit_error) or 0) > _POOR_FIT
        if single is not None:
            last = max(sizes.max() * 2, (needed or 0) * 1.1)
            along = np.geomspace(1, last, 200)
            fit = along * single / (1 + (along - 1) * single)
            misses = f", misses by {s.fit_error:.2f}" if poor else ""
            axis.plot(
                along, fit, ":" if poor else "-", color=COLOURS["accent"],
                label=f"Spearman-Brown fit{misses}",
            )  # fmt: skip
        if needed is not None and not poor:
            target = s.target_reliability
            axis.axhline(target, color=COLOURS["null"], linewidth=0.8, linestyle="--")
            axis.plot(
                [needed], [target], "D", color=COLOURS["second"], label=f"{needed} reach {target:g}"
            )
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlabel("participants a half")
        axis.set_ylabel(f"{s.metric} between halves")
        chart_title(axis, f"reliability, n = {curve[0].n_images} images")
        axis.legend(loc="lower right")
        save(figure, path)


def _draw_categories(axis: Any, result: CeilingResult, names: list[str]) -> None:
    """Draw boxes of the categories, with the highest agreement between people at the top."""
    values = [[row.ceiling for row in result.images if row.category == name] for name in names]
    draw_boxes(axis, values[::-1], range(1, len(names) + 1))
    labels = [f"{name[:24]} ({len(v)})" for name, v in zip(names, values, strict=True)]
    axis.locator_params(axis="x", nbins=5)
    axis.set_yticks(range(1, len(names) + 1), labels[::-1], parse_math=False)
    axis.set_xlabel(result.summary.metric)
    more = len(result.categories) - len(names)
    chart_title(axis, "category (images)" + (f", {more} more not shown" if more else ""))


def _column(result: CeilingResult, name: str) -> Any:
    return np.array([getattr(row, name) for row in result.images], dtype=np.float64)


def _with_interval(mean: float, ends: tuple[float, float]) -> str:
    return f"{number(mean)} {interval(ends)}".rstrip()
