"""Output of a classifier of attention maps: tables, and figures of its networks' saliency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from clickmap_cli.models.participant_quality import QUALITY_FILE
from clickmap_cli.reports.console import dry_line, interval, new_table, number
from clickmap_cli.reports.overlays import make_grey, overlay_map, scale_map, to_bytes
from clickmap_cli.reports.style import HEAT, OVERLAY_ALPHA, headline, save, styled
from clickmap_cli.services.classifier.interpretation import AverageRow, Maps
from clickmap_cli.services.classifier.results import ClassifierSummary
from clickmap_cli.services.job import Outcome
from clickmap_cli.services.participant_quality.run import QualitySummary

TITLES = {"gradient": "gradient", "smoothgrad": "SmoothGrad", "gradcam": "Grad-CAM"}
_MODELS = {"baseline": "logistic regression"}
_PANEL = 1.75
_BELOW = 0.6
"""Width of a panel, and height of the colour bar with its label, in inches."""


# --- the terminal -------------------------------------------------------------------------------


def score_tables(found: ClassifierSummary) -> list[Table]:
    """Return the tables of network and baseline: over all folds, then by fold."""
    size = " x ".join(str(side) for side in found.size)
    whole = new_table(
        f"{found.n_maps:,} maps ({size}) of {found.n_participants} participants, "
        f"{len(found.folds)} test folds, positive class {found.positive}",
        [""],
        ["F1", "weighted", "chance", "p", "pooled", "95% interval", "accuracy", "AUC"],
    )
    by_fold = new_table("By fold", numbers=["fold", "inner", "epoch", "val acc"])
    for model, row in found.results.items():
        title = _MODELS.get(model, found.model)
        whole.add_row(
            Text(title), number(row.f1), number(row.f1_weighted), number(row.chance_f1),
            _p(row.p), number(row.f1_pooled), interval(row.f1_ci), number(row.accuracy),
            number(row.auc),
        )  # fmt: skip
        by_fold.add_column(Text(f"F1 {title}"), justify="right")
    by_fold.add_column("test participants")
    for fold in found.folds:
        best = fold.best
        origin = [] if best is None else [str(best.inner), str(best.epoch)]
        by_fold.add_row(
            str(fold.fold), *origin, number(None if best is None else best.val_accuracy),
            *(number(fold.scores[model]["f1"]) for model in found.results),
            Text(_few(fold.test_participants)),
        )  # fmt: skip
    return [whole, by_fold]


def summary_lines(run: Outcome[ClassifierSummary]) -> list[str]:
    """Return explanations and the remaining results in a few lines."""
    found, lines = run.summary, []
    if not run.written:
        lines = [
            f"Fold {fold.fold}: tests {_few(fold.test_participants)}; "
            f"{found.inner_kfolds} trainings"
            for fold in found.folds
        ]
        return [*lines, dry_line("train", run.folder)]
    permuted = f" of {found.permutations:,} permutations" if found.permutations else ""
    lines.append(
        f"F1, weighted and chance{permuted} are means over folds; weighted is the F1 of every "
        "class by its number of maps; pooled is the F1 of all folds together, and its interval "
        f"is from {found.resamples:,} resamples of all participants."
    )
    if found.difference is not None:
        away = found.difference
        lines.append(
            f"Network less baseline: pooled F1 {away.f1_pooled:+.3f} {interval(away.f1_ci)}."
        )
    if found.inner_mode == "sequential":
        lines.append(
            "val acc is optimistic: one model goes on through the inner folds, and has learnt from "
            "most of those who validate it."
        )
    if found.shuffle_labels:
        lines.append("Labels were shuffled within participants: this is what chance gives.")
    table = run.folder / "per_image.csv"
    beside = "tables, logs and interpretation beside it"
    return [*lines, f"{table}: every test map; {beside}. {run.seconds:.1f} s."]


def _few(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value >= 0.0005 else f"{value:.1e}"


# --- pictures -----------------------------------------------------------------------------------


def draw_picture(path: Path, title: str, pixels: Maps, maps: Mapping[str, Maps]) -> None:
    """Write a map, and beside it the same map with each kind of saliency over it."""
    with styled() as plt:
        figure, grid = _panels(plt, 1, 1 + len(maps), pixels)
        _draw_row(grid[0], "map", pixels, maps)
        _draw_colours(figure, grid)
        headline(figure, title)
        save(figure, path)


def draw_averages(path: Path, rows: Sequence[AverageRow]) -> None:
    """Write the mean map of every class, and beside it the mean saliency over it.

    Mean maps are scaled from their least to their greatest grey value, equally for all classes.
    """
    low = min(float(row.pixels.min()) for row in rows)
    high = max(float(row.pixels.max()) for row in rows)
    with styled() as plt:
        first = rows[0]
        figure, grid = _panels(plt, len(rows), 1 + len(first.maps), first.pixels)
        for axes, row in zip(grid, rows, strict=True):
            pixels = (row.pixels - low) / ((high - low) or 1)
            _draw_row(axes, "mean map", pixels, row.maps, titled=row is first)
            axes[0].text(
                -0.06, 0.5, f"{row.label} (n = {row.n_maps:,})", rotation=90, va="center",
                ha="right", transform=axes[0].transAxes, parse_math=False,
            )  # fmt: skip
        _draw_colours(figure, grid)
        headline(figure, "Mean maps of each class, and where the networks look (held-out maps)")
        save(figure, path)


def _panels(plt: Any, rows: int, columns: int, pixels: NDArray[Any]) -> tuple[Any, Any]:
    ratio = min(pixels.shape[0] / pixels.shape[1], 2)
    figure, grid = plt.subplots(
        rows, columns, squeeze=False, layout="constrained",
        figsize=(columns * _PANEL, rows * _PANEL * ratio + 0.35 + (_BELOW if columns > 1 else 0)),
    )  # fmt: skip
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, grid


def _draw_colours(figure: Any, panels: NDArray[Any]) -> None:
    """Draw a colour bar of saliency below all panels, if there is saliency."""
    if panels.shape[1] == 1:
        return
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), HEAT), ax=panels, location="bottom", aspect=40, pad=0.02
    )
    bar.outline.set_visible(False)
    bar.set_ticks([0, 1], labels=["least saliency", "greatest in the panel"])
    for label, side in zip(bar.ax.get_xticklabels(), ("left", "right"), strict=True):
        label.set_horizontalalignment(side)


def _draw_row(
    row: Sequence[Any],
    what: str,
    pixels: NDArray[Any],
    maps: Mapping[str, NDArray[Any]],
    titled: bool = True,
) -> None:
    """Draw a map, and each kind of saliency over it, scaled from its least to its greatest value.

    Below saliency a coloured map is grey, so that only the colours of the colour bar occur.
    """
    image = to_bytes(pixels)
    image = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    row[0].imshow(image)
    titles = [what]
    below = make_grey(image)
    for axes, (method, values) in zip(row[1:], maps.items(), strict=True):
        axes.imshow(overlay_map(below, scale_map(values, "minmax"), HEAT, OVERLAY_ALPHA))
        titles.append(TITLES[method])
    for axes, title in zip(row, titles, strict=True):
        if titled:
            axes.set_title(title, fontsize="small")


def quality_lines(run: Outcome[QualitySummary | None]) -> list[str]:
    """Return the scores on held-out participants, and the command to run next."""
    found = run.summary
    if found is None:
        return [dry_line("train", run.folder)]
    unlisted = f", {found.n_unlisted} not listed" if found.n_unlisted else ""
    judged = (
        f"{found.n_judged} held-out participants ({found.n_good} good, {found.n_bad} bad"
        f"{unlisted}): AUC {number(found.auc)} {interval(found.auc_ci)}, accuracy "
        f"{found.accuracy:.3f}, Brier score {found.brier:.3f}."
    )
    return [
        judged,
        f"{run.folder / 'participants.csv'}: everybody's probability. {run.seconds:.1f} s.",
        f"Next: clickmap prepare --config ... participant_filter={run.folder / QUALITY_FILE}",
    ]
