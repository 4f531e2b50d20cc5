"""Distributions: counts, categories, agreement and the funnel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.reports.figures.panels import shorten
from clickmap_cli.reports.style import (
    COLOURS,
    GOLDEN,
    NARROW,
    PRESETS,
    chart_title,
    draw_boxes,
    save,
    styled,
)
from clickmap_cli.services.visualize.numbers import Distributions, Spread
from clickmap_cli.services.visualize.options import Look

Paths = Mapping[str, Path]

_MOST_GROUPS = 30
_MOST_BARS = 30  # in a histogram
_LABEL = 26
_OFF = ("off", "no such column", "0")


def draw_categories(numbers: Distributions, look: Look, paths: Paths) -> None:
    """Draw the number of images in each category."""
    groups = numbers.groups[:_MOST_GROUPS]
    with styled(look.preset) as plt:
        figure, axis = _axes(plt, look, len(groups))
        counts = [group.images for group in groups]
        axis.barh(range(len(groups)), counts, color=COLOURS["data"], height=0.7)
        _bar_numbers(axis, [f"{group.images:,}" for group in groups], counts, look)
        _names(axis, [group.name for group in groups])
        axis.set_xlabel("images")
        n = sum(group.images for group in numbers.groups)
        title = _more(f"{numbers.grouped_by}, n = {n:,} images", len(numbers.groups))
        chart_title(axis, title)
        save(figure, paths)


def draw_agreement(numbers: Distributions, look: Look, paths: Paths) -> None:
    """Draw a box per category over its images, with the highest agreement at the top."""
    groups = numbers.agreed[:_MOST_GROUPS]
    with styled(look.preset) as plt:
        figure, axis = _axes(plt, look, len(groups))
        draw_boxes(
            axis, [group.agreement for group in groups], range(len(groups)), manage_ticks=False,
            flierprops={"markersize": 3, "markeredgecolor": COLOURS["quiet"]},
        )  # fmt: skip
        _names(axis, [f"{shorten(g.name, _LABEL - 6)} ({len(g.agreement):,})" for g in groups])
        axis.set_xlabel(f"{numbers.metric}, {numbers.method}")
        axis.locator_params(axis="x", nbins=5)
        title = _more(f"{numbers.grouped_by} (images)", len(numbers.agreed))
        chart_title(axis, title)
        save(figure, paths)


def draw_funnel(numbers: Distributions, look: Look, paths: Paths) -> None:
    """Draw the number of trials that every filter kept; filters that are off are left out."""
    rows = [row for row in numbers.funnel if row.setting not in _OFF]
    rows = rows or list(numbers.funnel[:1])
    with styled(look.preset) as plt:
        figure, axis = _axes(plt, look, len(rows))
        counts = [row.trials for row in rows]
        axis.barh(range(len(rows)), counts, color=COLOURS["data"], height=0.7)
        _bar_numbers(axis, [f"{row.trials:,} · {row.images:,}" for row in rows], counts, look)
        _names(axis, [row.step for row in rows])
        axis.set_xlabel("trials")
        chart_title(axis, "what every filter kept: trials · images")
        save(figure, paths)


def draw_spread(name: str, numbers: Distributions, look: Look, paths: Paths) -> None:
    """Draw the distribution of a count, such as `clicks_per_trial`."""
    spread = next(spread for spread in numbers.spreads if spread.name == name)
    with styled(look.preset) as plt:
        preset = PRESETS[look.preset]
        width = min(preset.width, NARROW)
        figure, axis = plt.subplots(figsize=(width, width * GOLDEN), layout="constrained")
        axis.hist(spread.values, bins=_edges(spread), color=COLOURS["data"], alpha=0.75)
        axis.axvline(
            spread.median, color=COLOURS["accent"], linewidth=1.5,
            label=f"median {spread.median:g}, mean {spread.mean:.1f}",
        )  # fmt: skip
        axis.set_xlabel(f"{spread.counted} per {spread.unit}")
        axis.set_ylabel(f"{spread.unit}s")
        _whole_numbers(axis.xaxis, 6)
        _whole_numbers(axis.yaxis, 6)
        chart_title(axis, f"n = {len(spread.values):,} {spread.unit}s")
        figure.legend(loc="outside lower left")
        save(figure, paths)


def _edges(spread: Spread) -> Any:
    """Return edges of a histogram's bars, between whole numbers; all bars are equally wide."""
    low, high = int(spread.values.min()), int(spread.values.max())
    width = max(1, -(-(high - low + 1) // _MOST_BARS))
    return np.arange(low, high + width + 1, width) - 0.5


def _axes(plt: Any, look: Look, rows: int) -> tuple[Any, Any]:
    """Return a figure for horizontal bars, as high as the number of bars requires."""
    preset = PRESETS[look.preset]
    width = min(preset.width, 5.4)
    height = (rows * 1.75 + 5.5) * preset.font / 72
    figure, axis = plt.subplots(figsize=(width, height), layout="constrained")
    axis.set_ylim(rows - 0.4, -0.6)
    return figure, axis


def _names(axis: Any, names: list[str]) -> None:
    labels = [shorten(name, _LABEL) for name in names]
    axis.set_yticks(range(len(names)), labels, parse_math=False)
    axis.tick_params(axis="y", length=0)


def _bar_numbers(axis: Any, texts: list[str], counts: list[int], look: Look) -> None:
    """Draw a number behind each bar, and extend the axis to make room for it."""
    most = max(counts)
    for at, (text, count) in enumerate(zip(texts, counts, strict=True)):
        axis.text(
            count + 0.01 * most, at, text, va="center", fontsize=PRESETS[look.preset].font - 1,
            color=COLOURS["quiet"],
        )  # fmt: skip
    axis.set_xlim(0, 1.3 * most)
    _whole_numbers(axis.xaxis, 4)


def _whole_numbers(axis: Any, ticks: int) -> None:
    """Put ticks only at whole numbers, even if there is only one."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=ticks, integer=True, min_n_ticks=1))
    axis.set_major_formatter("{x:,.0f}")


def _more(title: str, n: int) -> str:
    return title if n <= _MOST_GROUPS else f"{title}, {n - _MOST_GROUPS:,} more not shown"
