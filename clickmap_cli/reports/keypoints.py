"""Figures of key points: over their images, after augmentation, and loss curves.

In an image's axes, as in labels, the centre of the top left pixel is at (0, 0).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from clickmap_cli.reports.console import dry_line, interval, new_table, number
from clickmap_cli.reports.overlays import overlay_map, scale_map
from clickmap_cli.reports.style import (
    COLOURS,
    GOLDEN,
    HEAT,
    NARROW,
    OVERLAY_ALPHA,
    PRESETS,
    headline,
    save,
    styled,
)
from clickmap_cli.services.job import Outcome
from clickmap_cli.services.keypoints.predictions import PredictionSummary
from clickmap_cli.services.keypoints.results import KeypointSummary
from clickmap_cli.services.keypoints.run import Image
from clickmap_cli.training.tasks.keypoint_augmentation import Pixels, Points
from clickmap_cli.training.trackers import Row

SIDE = 640
"""Longest side of an image in an overlay, in pixels of the picture."""

HEAD = 24
"""Height of an overlay's title; the image begins below it, at the left edge."""

PANEL = 230
"""Approximate longest side of an image in the augmentation sheet, in pixels."""

_LEGEND = 190
_LINE = 15
_LONGEST = 26
_SCORES = (("val_rmse", "RMSE (network pixels)"), ("val_pck", "PCK"))

_RING = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": COLOURS["second"]}
_CROSS = {"marker": "x", "markeredgecolor": COLOURS["data"]}
_WRONG = {"marker": "x", "markeredgecolor": COLOURS["accent"]}
_EDGE = 1.6


def draw_overlay(
    path: Path,
    title: str,
    pixels: Image,
    names: Sequence[str],
    *,
    true: Points | None = None,
    predicted: Points | None = None,
    wrong: Sequence[int] = (),
) -> None:
    """Write an image with its true key points as rings and the predicted ones as crosses.

    Every point has a number, and the legend gives its name. A line joins each prediction to its
    true point.
    """
    height, width = pixels.shape[:2]
    zoom = SIDE / max(height, width)
    right, below = max(round(width * zoom), 1), max(round(height * zoom), 1)
    marks = _marks(true, predicted, wrong)
    lines = len(marks) + 1 + len(names)
    size = right + _LEGEND, HEAD + max(below, _LINE * lines)
    with styled() as plt:
        dpi = PRESETS["screen"].dpi
        figure = plt.figure(figsize=(size[0] / dpi, size[1] / dpi))
        bottom = 1 - (HEAD + below) / size[1]
        axes = figure.add_axes((0, bottom, right / size[0], below / size[1]))
        _show(axes, pixels)
        if true is not None and predicted is not None:
            _join(axes, true, predicted)
        for _, points, how in marks:
            axes.plot(*points.T, linestyle="", ms=8, markeredgewidth=_EDGE, **how)
        _number(axes, _place_numbers(true, predicted), 8)
        _text(figure, title, (6, size[1] - HEAD / 2), size)
        for line, (label, _, how) in enumerate(marks):
            place = right + 16, size[1] - HEAD - _LINE * (line + 0.5)
            figure.add_artist(
                plt.Line2D([place[0] / size[0]], [place[1] / size[1]], linestyle="", ms=7,
                           markeredgewidth=_EDGE, **how)
            )  # fmt: skip
            _text(figure, label, (place[0] + 12, place[1]), size)
        for at, name in enumerate(names, 1):
            place = right + 12, size[1] - HEAD - _LINE * (len(marks) + at + 0.5)
            _text(figure, f"{at}  {_cut(name, _LONGEST)}", place, size)
        save(figure, path)


def draw_sheet(
    path: Path,
    names: Sequence[str],
    rows: Sequence[tuple[str, Sequence[tuple[str, Pixels, Points]]]],
) -> None:
    """Write examples of augmented images, one image per row, with numbered key points."""
    columns = len(rows[0][1])
    shapes = [panels[0][1].shape for _, panels in rows]
    ratio = max(shape[0] / shape[1] for shape in shapes)
    side = PANEL / PRESETS["screen"].dpi
    with styled() as plt:
        figure, grid = plt.subplots(
            len(rows), columns, squeeze=False, layout="constrained",
            figsize=(columns * side + 0.3, len(rows) * side * min(ratio, 2) + 0.8),
        )  # fmt: skip
        for row, (name, panels) in enumerate(rows):
            for axes, (title, pixels, points) in zip(grid[row], panels, strict=True):
                _show(axes, pixels, aspect="equal")
                axes.plot(*points.T, linestyle="", ms=3.5, markeredgewidth=1, **_RING)
                _number(axes, points, 6)
                if row == 0:
                    axes.set_title(title)
            _beside(grid[row, 0], _cut(name, 30))
        listed = ", ".join(f"{at} {_cut(name, _LONGEST)}" for at, name in enumerate(names, 1))
        figure.supxlabel(listed, fontsize="small", wrap=True, parse_math=False)
        save(figure, path)


def draw_losses(path: Path, rows: Sequence[Row], best: int | None = None) -> None:
    """Write loss curves, and beside them the curves of the scores that the history has.

    An epoch without validation has no point. The scale of the losses is logarithmic if all are
    above 0.
    """
    scores = [(key, label) for key, label in _SCORES if len(_series(rows, key)[0])]
    panels = 1 + len(scores)
    with styled() as plt:
        figure, grid = plt.subplots(
            1, panels, squeeze=False, layout="constrained",
            figsize=(0.8 * NARROW * panels, 0.8 * NARROW * GOLDEN),
        )  # fmt: skip
        loss, *others = grid[0]
        least = math.inf
        for key, label, colour in (
            ("train_loss", "training", COLOURS["data"]),
            ("val_loss", "validation", COLOURS["accent"]),
        ):
            epochs, values = _series(rows, key)
            if len(epochs):
                loss.plot(epochs, values, color=colour, label=label, **_dots(epochs))
                least = min(least, float(values.min()))
        if 0 < least < math.inf:
            loss.set_yscale("log")
        loss.set_ylabel("loss")
        for axes, (key, label) in zip(others, scores, strict=True):
            epochs, values = _series(rows, key)
            axes.plot(epochs, values, color=COLOURS["accent"], **_dots(epochs))
            axes.set_ylabel(label)
            axes.set_ylim(0, 1 if key == "val_pck" else None)
        for axes in grid[0]:
            axes.set_xlabel("step" if rows and "step" in rows[0] else "epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            if best is not None:
                axes.axvline(best, color=COLOURS["null"], linewidth=1, label="best")
        if loss.get_legend_handles_labels()[0]:
            loss.legend()
        save(figure, path)


def _marks(
    true: Points | None, predicted: Points | None, wrong: Sequence[int]
) -> list[tuple[str, Points, dict[str, str]]]:
    """Return the points to draw: legend label, points, and style."""
    marks: list[tuple[str, Points, dict[str, str]]] = []
    if true is not None:
        marks.append(("true", true, _RING))
    if predicted is not None:
        far = np.isin(np.arange(len(predicted)), list(wrong))
        marks.append(("predicted", predicted[~far], _CROSS))
        if far.any():
            marks.append(("predicted, too far off", predicted[far], _WRONG))
    return marks


def _show(axes: Any, pixels: NDArray[Any], aspect: str = "auto") -> None:
    """Show an image that fills its axes; later drawing does not change the limits."""
    height, width = pixels.shape[:2]
    axes.imshow(pixels, aspect=aspect, interpolation="antialiased")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), autoscale_on=False)
    axes.set_axis_off()


def _join(axes: Any, true: Points, predicted: Points) -> None:
    """Draw lines from true to predicted points, visible on dark and on light."""
    from matplotlib.patheffects import withStroke

    edge = [withStroke(linewidth=2.2, foreground=COLOURS["text"])]
    for pair in zip(true, predicted, strict=True):
        axes.plot(*np.transpose(pair), color=COLOURS["empty"], linewidth=0.9, path_effects=edge)


def _place_numbers(true: Points | None, predicted: Points | None) -> Points:
    """Return the places of the numbers: at the labels, or at predictions without a label."""
    if true is None or predicted is None:
        either = predicted if true is None else true
        return np.empty((0, 2)) if either is None else either
    return np.where(np.isnan(true), predicted, true)


def _number(axes: Any, points: NDArray[np.float64], size: float) -> None:
    """Draw the number of every point beside it, readable on dark and on light."""
    from matplotlib.patheffects import withStroke

    for at, (x, y) in enumerate(points, 1):
        if math.isfinite(x):
            axes.annotate(
                str(at), (x, y), (4, 4), textcoords="offset points", fontsize=size,
                path_effects=[withStroke(linewidth=2, foreground="white")], annotation_clip=True,
            )  # fmt: skip


def _beside(axes: Any, text: str) -> None:
    axes.text(
        -0.04, 0.5, text, rotation=90, va="center", ha="right", transform=axes.transAxes,
        parse_math=False,
    )  # fmt: skip


def _text(figure: Any, text: str, at: tuple[float, float], size: tuple[int, int]) -> None:
    """Draw text that begins at pixels of the figure, counted from its lower left."""
    figure.text(at[0] / size[0], at[1] / size[1], _cut(text, 90), va="center", parse_math=False)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"...{text[3 - longest :]}"


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return epochs (or steps) and values of the rows where a column holds a finite number."""
    known = [
        (row.get("step", row["epoch"]), float(row[key]))
        for row in rows
        if isinstance(row.get(key), int | float) and math.isfinite(row[key])
    ]
    return np.array([epoch for epoch, _ in known]), np.array([value for _, value in known])


def _dots(epochs: NDArray[Any]) -> dict[str, Any]:
    """Return a style that marks points of short series, because a single point makes no line."""
    return {"marker": "o", "ms": 3} if len(epochs) <= 20 else {}


def score_table(found: KeypointSummary) -> Table:
    """Return a table of PCK and RMSE on the test images, for every key point and overall."""
    title = (
        f"{found.model}, {found.n_test} test images, original pixels, PCK at "
        f"{found.alpha:g} x {' - '.join(found.reference_points)}"
    )
    table = new_table(title, ["key point"], ["PCK", "RMSE"])
    for name, row in found.per_keypoint.items():
        table.add_row(Text(name), number(row["pck"], 3), number(row["rmse"], 2))
    table.add_row("mean over images", number(found.pck, 3), number(found.rmse, 2))
    return table


def summary_lines(run: Outcome[KeypointSummary | None]) -> list[str]:
    """Return the remaining results in a few lines."""
    found = run.summary
    if found is None:
        return [dry_line("train", run.folder)]
    side = " x ".join(str(n) for n in found.network_size)
    step = "" if found.best_step is None else f", step {found.best_step}"
    pictures = [kind for kind in ("overlays", "attention") if _has_pictures(run, kind)]
    beside = f"; {' and '.join(pictures)} beside it" if pictures else ""
    scores = (
        f"RMSE {number(found.rmse, 2)} {interval(found.rmse_ci, 2)} px, mean error "
        f"{number(found.mean_error, 2)} px; {number(found.rmse_network, 2)} px of the "
        f"network's {side}. Best epoch {found.best_epoch}{step}."
    )
    return [scores, f"{run.folder / 'per_image.csv'}: every image{beside}. {run.seconds:.1f} s."]


def _has_pictures(run: Outcome[KeypointSummary | None], kind: str) -> bool:
    return any(name.startswith(f"{kind}/") for name in run.outputs)


def prediction_line(run: Outcome[PredictionSummary]) -> str:
    """Return a summary of `--predict-only`."""
    found = run.summary
    left_out = f", {len(found.failures):,} left out" if found.failures else ""
    return (
        f"{run.folder / 'predictions.csv'}: {len(found.keypoints)} key points in "
        f"{found.n_images:,} pictures{left_out}; predictions_dlc.csv for DeepLabCut beside it. "
        f"{run.seconds:.1f} s."
    )


_COLUMNS = 4
_PANEL = 2.2


def draw_attention(
    path: Path,
    title: str,
    pixels: Image,
    names: Sequence[str],
    maps: Pixels,
    true: Points,
    predicted: Points,
) -> None:
    """Write a panel per key point: its map over the image, true place (ring), prediction (cross).

    Every map is scaled from its least to its largest value, because rollout is nowhere 0.
    """
    k = len(names)
    columns = min(k, _COLUMNS)
    rows = math.ceil(k / columns)
    height, width = pixels.shape[:2]
    with styled() as plt:
        figure, grid = plt.subplots(
            rows, columns, squeeze=False, layout="constrained",
            figsize=(columns * _PANEL, rows * (_PANEL * min(height / width, 2) + 0.25) + 0.3),
        )  # fmt: skip
        for axes in grid.flat:
            axes.set_axis_off()
        for at, name in enumerate(names):
            axes = grid.flat[at]
            heat = scale_map(maps[at] - maps[at].min(), "max")
            axes.imshow(overlay_map(pixels, heat, HEAT, OVERLAY_ALPHA))
            axes.set_title(name, fontsize="small", parse_math=False)
            ring = {"marker": "o", "ms": 8, "markerfacecolor": "none", "color": COLOURS["second"]}
            axes.plot(*true[at], **ring)
            axes.plot(*predicted[at], marker="x", ms=7, color="white")
        headline(figure, title)
        save(figure, path)
